"""What the cards of styles take from earlier ones."""

from typing import Any

import pytest

from scheduler.domain.cards import completed, said_in, trained_steps

PAINTED: dict[str, Any] = {"made_from": {"painting_sha256": "a" * 64}, "steps": 100}
PRESENT = PAINTED | {
    "title": "Night",
    "year": "1889",
    "look": {"stroke": "fine"},
    "origin": "elsewhere",
    "run": "run_1",
}


def test_what_clients_say_is_what_runs_do_not() -> None:
    assert said_in(PRESENT) == {"title": "Night", "year": "1889", "look": {"stroke": "fine"}, "origin": "elsewhere"}


def test_a_card_of_the_same_painting_takes_its_names_and_its_look() -> None:
    card = completed(PAINTED | {"title": "Starry Night", "run": "run_2"}, PRESENT)
    assert card == PAINTED | {"title": "Starry Night", "year": "1889", "look": {"stroke": "fine"}, "run": "run_2"}


@pytest.mark.parametrize("made_from", [{"painting_sha256": "b" * 64}, {"painting_sha256": None}, {}, None, "a", []])
def test_a_card_of_another_painting_takes_the_look_alone(made_from: object) -> None:
    card = {"made_from": made_from}
    assert completed(card, PRESENT) == card | {"look": {"stroke": "fine"}}
    assert completed(PAINTED, PRESENT | card) == PAINTED | {"look": {"stroke": "fine"}}


def test_a_look_of_its_own_is_kept_even_if_it_is_empty() -> None:
    assert completed(PAINTED | {"look": {}}, PRESENT)["look"] == {}


def test_steps_are_those_of_all_runs_that_taught_the_style() -> None:
    runs = [{"steps": 2000}, {"steps": 400, "trained": "norms"}, {"steps": 200, "trained": "identity"}]
    assert trained_steps({"steps": 400, "made_from": {"runs": runs}}) == 2400
    assert trained_steps({"steps": 400, "made_from": {"runs": []}}) == 400
    assert trained_steps({"training": {"steps": 500}}) == 500


@pytest.mark.parametrize(
    "card",
    [{}, {"steps": "many"}, {"training": 3}, {"steps": True}, {"made_from": {"runs": [{"trained": "all"}, 3]}}],
)
def test_a_card_that_does_not_say_has_no_steps(card: dict[str, Any]) -> None:
    assert trained_steps(card) is None
