"""Commands and requests in the documentation, which readers copy."""

import re
from pathlib import Path

import pytest

from nst_core.styles import shipped_styles

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for page in ROOT.rglob("*.md") if not page.relative_to(ROOT).parts[0].startswith("."))
#: The names of new styles: those of commands, and those of requests for a training.
NAMES = re.compile(r"nst styles (?:train|import) [^`\n]*--name[ =]([\w.-]+)|\{\"name\": \"([\w.-]+)\", \"painting\"")


def new_styles(text: str) -> set[str]:
    return {command or request for command, request in NAMES.findall(text.replace("\\\n", " "))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_example_trains_or_imports_a_style_of_a_name_that_nst_has(page: Path) -> None:
    assert new_styles(page.read_text()) & {style.name for style in shipped_styles()} == set()


def test_names_are_found_in_commands_and_requests() -> None:
    assert {"sunflowers", "sketch"} <= new_styles((ROOT / "README.md").read_text())
    assert {"mine", "candy"} <= new_styles((ROOT / "nst_core" / "training" / "README.md").read_text())
    assert new_styles('`POST /v1/styles` (`{"name": "a", "painting": "s3://…"}`)') == {"a"}
