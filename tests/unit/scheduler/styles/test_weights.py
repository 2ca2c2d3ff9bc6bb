"""Cards of styles: what can be stored and shown again."""

from typing import Any

import pytest

from scheduler.domain.errors import RequestInvalidError
from scheduler.styles.weights import MAX_CARD_BYTES, MAX_CARD_DEPTH, check_card


@pytest.mark.parametrize("card", [{}, {"title": "Øresund ✓", "training": {"steps": [1, 2.5, None, True]}}])
def test_cards_of_json_values_are_taken(card: dict[str, Any]) -> None:
    check_card(card)


@pytest.mark.parametrize(
    "card",
    [
        {"year": float("nan")},
        {"year": float("inf")},
        {"title": "a\0b"},
        {"title\0": "a"},
        {"title": ["\ud800"]},
        {"title": "é" * (MAX_CARD_BYTES // 2)},
    ],
    ids=["nan", "inf", "nul", "nul in a key", "surrogate", "too long"],
)
def test_a_card_that_cannot_be_stored_is_refused(card: dict[str, Any]) -> None:
    with pytest.raises(RequestInvalidError) as caught:
        check_card(card)
    assert caught.value.pointer == "/card"


def test_a_card_with_a_look_that_no_job_could_have_is_refused() -> None:
    with pytest.raises(RequestInvalidError, match="A look is an object") as caught:
        check_card({"look": {"stroke": 5}}, pointer="/about")
    assert caught.value.pointer == "/about/look"


def test_a_card_has_as_many_levels_as_can_be_shown() -> None:
    card: dict[str, Any] = {}
    for _ in range(MAX_CARD_DEPTH - 1):
        card = {"card": card}
    check_card(card)
    with pytest.raises(RequestInvalidError, match="levels"):
        check_card({"cards": [card]})


def test_a_card_that_is_nested_too_deeply_is_refused() -> None:
    card: dict[str, Any] = {}
    for _ in range(100_000):
        card = {"card": card}
    with pytest.raises(RequestInvalidError):
        check_card(card)
    while card:  # taken apart here: Python does so on the stack
        card = card["card"]
