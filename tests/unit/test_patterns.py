"""No regular expression of the product can be made to run for long by the text that it is given."""

import re

import pytest

from tests.unit.patterns import ROOT, Pattern, hostile, patterns_of, slow_patterns

SOURCES = sorted(path for package in ("nst_core", "worker", "scheduler") for path in (ROOT / package).rglob("*.py"))
BAD = {
    "comments before a tag": (r"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg", re.DOTALL),
    "a repeat in a repeat": (r"(\w+\s?)*;", 0),
    "alternatives that overlap": (r"(a|b|ab)*c", 0),
    "two repeats side by side": (r"\d+\d+\d+x", 0),
}


def test_every_pattern_is_done_soon_with_hostile_texts() -> None:
    patterns = [pattern for path in SOURCES for pattern in patterns_of(path)]
    assert len(patterns) > 20
    assert slow_patterns(patterns, seconds=120) == []


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
