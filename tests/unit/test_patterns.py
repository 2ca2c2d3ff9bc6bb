"""No regular expression of the product can be made to run for long by the text that it is given."""

import re

import pytest

from nst_core.styles import shipped_styles
from scheduler.cli.transfer.own_results import EarlierResults
from scheduler.cli.transfer.results import Naming, Target
from tests.unit.patterns import ROOT, Pattern, hostile, patterns_of, slow_patterns

SOURCES = sorted(path for package in ("nst_core", "worker", "scheduler") for path in (ROOT / package).rglob("*.py"))
#: Its patterns are tried by a test of their own.
BUILDER = ROOT / "scheduler/cli/transfer/own_results.py"
#: The bytes of the name of a file on all usual file systems.
MOST_NAME = 255
BAD = {
    "comments before a tag": (r"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg", re.DOTALL),
    "a repeat in a repeat": (r"(\w+\s?)*;", 0),
    "alternatives that overlap": (r"(a|b|ab)*c", 0),
    "two repeats side by side": (r"\d+\d+\d+x", 0),
}


def test_every_pattern_is_done_soon_with_hostile_texts() -> None:
    patterns = [pattern for path in SOURCES for pattern in patterns_of(path, builds=path == BUILDER)]
    assert len(patterns) > 20
    assert slow_patterns(patterns, seconds=120) == []


@pytest.mark.parametrize(
    "template", ["{stem}{style}{stem}.{ext}", "{stem}/{stem}__{style}{index}.{ext}", "{stem}-a.{ext}"]
)
def test_patterns_of_results_are_done_soon_with_hostile_names(template: str) -> None:
    """They are built of a template and the names of styles, and are given names of files in some folders."""
    styles = [style.name for style in shipped_styles()]
    naming = Naming(format="jpeg", template=template, styles=(*styles[:2], "a:0.5,aa:0.5"), target=Target(text=""))
    forms = EarlierResults(naming, known=[*styles, "a", "aa", "a-1"])._forms
    patterns = [
        Pattern(where=template, text=form.pattern.pattern, method="fullmatch", length=2 * MOST_NAME) for form in forms
    ]
    assert len(patterns) > 1
    assert slow_patterns(patterns, seconds=60) == []


@pytest.mark.parametrize("name", BAD)
def test_a_pattern_that_backtracks_is_found(name: str) -> None:
    text, flags = BAD[name]
    pattern = Pattern(where="here", text=text, flags=int(flags), method="match")
    assert slow_patterns([pattern], seconds=3) == [f"here: {text}"]


def test_the_hostile_texts_hold_each_part_of_a_pattern() -> None:
    texts = list(hostile(BAD["comments before a tag"][0], int(re.DOTALL)))
    assert any("<!----><!---->" in text for text in texts)


def test_no_module_imports_names_out_of_re() -> None:
    """The search for patterns knows `re.name(...)` alone."""
    assert [str(path) for path in SOURCES if "from re import" in path.read_text()] == []


def test_pydantic_matches_with_its_linear_engine() -> None:
    assert [str(path) for path in SOURCES if "python-re" in path.read_text()] == []
