"""The looks of styles: strokes and forms that a job could have."""

from typing import Any

import pytest

from nst_core.errors import ConfigError
from scheduler.domain.looks import Look, look_of


@pytest.mark.parametrize(
    ("card", "look"),
    [
        ({}, Look()),
        ({"look": {}}, Look()),
        ({"look": {"stroke": "varied"}}, Look(stroke="varied")),
        (
            {"look": {"stroke": 2, "forms": "planes", "faces": "protect"}},
            Look(stroke=2.0, forms="planes", faces="protect"),
        ),
        ({"look": {"forms": None}}, Look()),
        ({"title": "Udnie"}, Look()),
    ],
)
def test_a_card_may_have_a_look(card: dict[str, Any], look: Look) -> None:
    assert look_of(card) == look


@pytest.mark.parametrize(
    "look",
    [
        "soft",
        [],
        None,
        {"stroke": 5},
        {"stroke": "broad"},
        {"stroke": True},
        {"forms": "cubes"},
        {"forms": 1},
        {"strokes": 2},
    ],
)
def test_a_look_that_no_job_could_have_is_an_error(look: object) -> None:
    with pytest.raises(ConfigError):
        look_of({"look": look})
