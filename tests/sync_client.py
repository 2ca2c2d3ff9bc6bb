"""Generates the synchronous client from the asynchronous one: `make client`, or `python -m tests.sync_client`.

Works on tokens: removes `async` and `await`, replaces names, and keeps everything else.
"""

import io
import re
import subprocess
import sys
import tokenize
from itertools import accumulate, pairwise
from pathlib import Path

CLIENT = Path(__file__).parents[1] / "nst_core" / "client"
SOURCE, TARGET = CLIENT / "_async", CLIENT / "_sync"
HEADER = "# Generated from {name} by `make client`; changes belong there.\n"
#: Names that are replaced. In addition, AsyncX becomes X.
NAMES = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "_async": "_sync",
    "aclose": "close",
    "aio": "blocking",
    "aiter_bytes": "iter_bytes",
    "aiter_lines": "iter_lines",
    "anext": "next",
    "aread": "read",
    "asynccontextmanager": "contextmanager",
}
_RENAMED = (tokenize.NAME, tokenize.STRING, tokenize.COMMENT)


def to_sync(source: str) -> str:
    """Turn asynchronous code into synchronous code, unformatted."""
    starts = [0, *accumulate(map(len, source.splitlines(keepends=True)))]
    pieces, done = [], 0
    for token, after in pairwise(tokenize.generate_tokens(io.StringIO(source).readline)):
        begin, end = (starts[row - 1] + column for row, column in (token.start, token.end))
        if token.type == tokenize.NAME and token.string in ("async", "await"):
            text, end = "", starts[after.start[0] - 1] + after.start[1]
        elif token.type in _RENAMED:
            text = re.sub(r"\w+", lambda word: _renamed(word[0]), token.string)
        else:
            continue
        pieces += [source[done:begin], text]
        done = end
    return "".join([*pieces, source[done:]])


def generate() -> dict[Path, str]:
    """Return the files of the synchronous client by path."""
    return {
        TARGET / path.name: _formatted(
            HEADER.format(name=path.relative_to(CLIENT.parents[1]).as_posix()) + to_sync(path.read_text("utf-8")),
            TARGET / path.name,
        )
        for path in sorted(SOURCE.glob("*.py"))
    }


def main() -> None:
    """Write the synchronous client, and remove files without a source."""
    files = generate()
    for path in set(TARGET.glob("*.py")) - files.keys():
        path.unlink()
    for path, text in files.items():
        path.write_text(text, "utf-8")


def _renamed(name: str) -> str:
    return NAMES.get(name) or re.sub(r"^Async(?=[A-Z])", "", name)


def _formatted(source: str, path: Path) -> str:
    """Format code with ruff, because the new names change the order of imports and the length of lines."""
    for options in (["check", "--fix-only", "--unsafe-fixes", "--select", "I,UP028"], ["format"]):
        command = [sys.executable, "-m", "ruff", *options, "--quiet", "--stdin-filename", str(path), "-"]
        source = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    return source


if __name__ == "__main__":
    main()
