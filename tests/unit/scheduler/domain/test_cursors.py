"""Tests of scheduler.domain.cursors."""

import re

import pytest

from nst_core.client.resources.base import ID_PATTERN
from scheduler.domain.cursors import Place, place_after
from scheduler.domain.errors import RequestInvalidError


class Entry:
    place = Place(7.5, "a")


@pytest.mark.parametrize("created_at", [0.0, 1.0, 1_700_000_000.123456, 4_102_444_800.999999, 1 / 3])
@pytest.mark.parametrize("id", ["3f9a10c2", "upl_3f9a10c2b4d1019ab5e0c8a4"])
def test_a_place_is_the_same_after_it_was_text_which_may_stand_for_an_id(created_at: float, id: str) -> None:
    text = Place(created_at, id).dump()
    assert Place.load(text) == Place(created_at, id)
    assert re.fullmatch(ID_PATTERN, text)


@pytest.mark.parametrize(
    "text",
    ["3f9a10c2", "3f9a10c2-", "3f9a10c2-1", "a-nan", "a-inf", "a-1e400", "a-1.5-2.5", "a-\u0661.5", ""],
)
def test_other_text_is_no_place(text: str) -> None:
    assert Place.load(text) is None


def test_the_place_behind_an_id_is_that_of_its_entry() -> None:
    assert place_after(None, lambda id: None) is None
    assert place_after("b-2.0", lambda id: None) == Place(2.0, "b")
    assert place_after("a", lambda id: Entry() if id == "a" else None) == Entry.place
    with pytest.raises(RequestInvalidError, match="no entry 'b'") as caught:
        place_after("b", lambda id: None)
    assert caught.value.pointer == "/after_id"
