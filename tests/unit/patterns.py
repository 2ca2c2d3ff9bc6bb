"""Regular expressions of the product: where they are, and how long they take on hostile texts.

Run as a module, it reads one JSON list of [pattern, bytes, flags, method, length] from its input, tries each on grown
texts, and prints the number of each pattern that it is done with.
"""

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

ROOT = Path(__file__).parents[2]
#: Characters of each text.
LENGTH = 100_000
_METHODS = ("match", "fullmatch", "search", "sub", "subn", "split", "findall", "finditer")


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """One regular expression and one way in which it is used."""

    where: str
    text: str
    is_bytes: bool = False
    flags: int = 0
    method: str = "search"
    #: The characters of the longest text that it is given.
    length: int = LENGTH


def patterns_of(path: Path, *, builds: bool = False) -> Iterator[Pattern]:
    """Yield the patterns of a module's calls of `re`, and those of its `pattern=` arguments.

    Raises ValueError for a pattern that is no literal, since nothing here could try it, unless the module `builds`
    patterns.
    """
    tree = ast.parse(path.read_text())
    names = {
        id(node.value): node.targets[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        where = f"{path.relative_to(ROOT)}:{node.lineno}"
        called = node.func
        is_built = builds and bool(node.args) and not isinstance(node.args[0], ast.Constant)
        if isinstance(called, ast.Attribute) and _is_re(called.value) and not is_built:
            yield from _of_call(node, called.attr, where, _uses(tree, names.get(id(node))))
        for keyword in node.keywords:
            if keyword.arg == "pattern" and not builds:
                yield Pattern(where=where, text=_text(keyword.value, path))


def _is_re(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "re"


def _of_call(node: ast.Call, function: str, where: str, uses: list[str]) -> Iterator[Pattern]:
    if function not in ("compile", *_METHODS):
        return
    text = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
    if not isinstance(text, str | bytes):
        raise ValueError(f"{where}: the pattern is not a literal")
    flags = [each for each in ast.walk(node) if isinstance(each, ast.Attribute) and each.attr.isupper()]
    value = sum(int(getattr(re, each.attr)) for each in flags)
    for method in uses if function == "compile" else [function]:
        yield Pattern(
            where=where,
            text=text.decode("latin-1") if isinstance(text, bytes) else text,
            is_bytes=isinstance(text, bytes),
            flags=value,
            method=method,
        )


def _uses(tree: ast.Module, name: str | None) -> list[str]:
    """Return the methods that a module calls of a compiled pattern; the widest one if it calls none by its name."""
    found = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name
    }
    return sorted(found & set(_METHODS)) or ["search"]


def _text(value: ast.expr, path: Path) -> str:
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if isinstance(value, ast.Name) and isinstance(found := getattr(module, value.id), str):
        return found
    raise ValueError(f"{path}:{value.lineno}: the pattern is neither a literal nor a constant")


def slow_patterns(patterns: list[Pattern], *, seconds: float) -> list[str]:
    """Return where the first pattern is that was not done with its hostile texts when the time was over."""
    request = json.dumps([[each.text, each.is_bytes, each.flags, each.method, each.length] for each in patterns])
    command = [sys.executable, "-m", "tests.unit.patterns"]
    try:
        done = subprocess.run(command, input=request.encode(), capture_output=True, timeout=seconds, cwd=ROOT)
        assert done.returncode == 0, done.stderr.decode()
    except subprocess.TimeoutExpired as error:
        finished = len((error.stdout or b"").split())
        return [f"{patterns[finished].where}: {patterns[finished].text}"]
    assert len(done.stdout.split()) == len(patterns)
    return []


def hostile(text: str, flags: int, length: int = LENGTH) -> Iterator[str]:
    """Yield texts made of repeated pieces of a pattern's own alphabet, with an end that does not match."""
    pieces = list(dict.fromkeys(piece for piece in _pieces(_parser.parse(text, flags)) if piece))
    starts = ["", *pieces[:1]]
    for piece in pieces:
        for start in starts:
            for end in ("", "\0", "\n!"):
                yield start + piece * (length // len(piece)) + end
    for first in pieces[:12]:
        for second in pieces[:12]:
            yield (first + second) * (length // len(first + second)) + "\0"


def _pieces(node: Any) -> Iterator[str]:
    """Yield the shortest texts of a parsed pattern and of each of its parts."""
    yield _shortest(node)
    for op, argument in node:
        if op is ops.BRANCH:
            for part in argument[1]:
                yield from _pieces(part)
        elif op in (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT):
            yield from _pieces(argument[2])
        elif op is ops.SUBPATTERN:
            yield from _pieces(argument[3])
        elif op in (ops.ASSERT, ops.ASSERT_NOT):
            yield from _pieces(argument[1])
        elif op is ops.IN:
            yield from (_character([each]) for each in argument if each[0] is not ops.NEGATE)
        elif op is ops.LITERAL:
            yield chr(argument)


def _shortest(node: Any) -> str:
    text = ""
    for op, argument in node:
        if op is ops.LITERAL:
            text += chr(argument)
        elif op is ops.IN:
            text += _character(argument)
        elif op in (ops.ANY, ops.NOT_LITERAL):
            text += "a"
        elif op is ops.BRANCH:
            text += _shortest(argument[1][0])
        elif op is ops.SUBPATTERN:
            text += _shortest(argument[3])
        elif op in (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT):
            text += _shortest(argument[2]) * min(max(argument[0], 0), 100)
    return text


def _character(members: Any) -> str:
    categories = {ops.CATEGORY_DIGIT: "1", ops.CATEGORY_SPACE: " ", ops.CATEGORY_WORD: "a"}
    op, argument = members[0]
    if op is ops.NEGATE:
        return "a"
    if op is ops.LITERAL:
        return chr(argument)
    if op is ops.RANGE:
        return chr(argument[0])
    return categories.get(argument, "-")


def _main() -> None:
    for number, (text, is_bytes, flags, method, length) in enumerate(json.load(sys.stdin)):
        pattern = re.compile(text.encode("latin-1") if is_bytes else text, flags)
        for subject in hostile(text, flags, length):
            given: Any = subject.encode("latin-1", "replace") if is_bytes else subject
            if method in ("sub", "subn"):
                getattr(pattern, method)(given[:0], given)
            elif method == "finditer":
                list(pattern.finditer(given))
            else:
                getattr(pattern, method)(given)
        print(number, flush=True)


if __name__ == "__main__":
    _main()
