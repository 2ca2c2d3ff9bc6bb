"""The documents in deploy/: their links, and the commands, settings, metrics and alerts that they name."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nst_core.settings import unknown_variables
from scheduler.cli.app import command_line
from scheduler.cli.lazy import LazyCommand
from tests.deploy.test_compose import read_env

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGES = sorted(DEPLOY.rglob("*.md"))
TEXT = {page: page.read_text() for page in PAGES}
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DEPLOY)))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code(page: Path) -> Iterator[str]:
    """Yield the lines of shell code of a page, and what stands between backticks, without comments."""
    text = TEXT[page]
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    for line in "".join(blocks).replace("\\\n", " ").splitlines():
        yield re.sub(r"\s#\s.*", "", line).strip()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL))


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command of `nst` on a page."""
    for line in code(page):
        for part in re.split(r"[|'&]", line):
            words = shlex.split(part, comments=True)
            while words and re.fullmatch(r"NST_\w+=\S*", words[0]):
                words.pop(0)
            if words[:1] == ["nst"] and len(words) > 1 and not words[1].startswith("-"):
                yield words[1:]


def found(words: list[str]) -> Any:
    """Return the command that words begin with; fail if there is none."""
    command = command_line()
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
        if isinstance(command, LazyCommand):
            command = command.load()
    return command


@pages
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", TEXT[page]):
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


def test_commands_and_their_options_exist() -> None:
    seen = []
    for page in PAGES:
        for words in commands(page):
            line = " ".join(words)
            command = found(words)
            assert not hasattr(command, "commands"), f"{page.name}: nst {line}"
            options = {name for each in command.params for name in each.opts}
            given = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
            assert given <= options, f"{page.name}: nst {line}"
            seen.append(line)
    assert {"backup /backups/", "restore -", "keys rotate ID"} <= set(seen)


def test_commands_of_compose_name_its_file() -> None:
    blocks = [re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL) for text in TEXT.values()]
    lines = [line.strip() for block in blocks for line in "".join(block).splitlines() if "docker compose" in line]
    assert len(lines) > 3
    assert all(line.startswith("docker compose --file deploy/compose.yaml ") for line in lines), lines


def test_settings_exist() -> None:
    names = {name for text in TEXT.values() for name in re.findall(r"\bNST_[A-Z0-9_]+\b(?!\*)", text)}
    others = read_env(DEPLOY / ".env.example").keys()
    assert unknown_variables(dict.fromkeys(names - others, "")) == []


def test_metrics_and_alerts_exist() -> None:
    groups = yaml.safe_load((DEPLOY / "monitoring" / "alerts.yaml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    table = set(re.findall(r"^\| `(nst_\w+)`", TEXT[DEPLOY / "monitoring" / "README.md"], re.MULTILINE))
    page = TEXT[DEPLOY / "operations.md"]
    assert set(re.findall(r"\bNst[A-Z]\w+", page)) == alerts - {"NstRestarts", "NstWorkerNotReady"}
    assert set(re.findall(r"\bnst_[a-z_]+", page)) - {"nst_"} <= table
