"""Names of files for people and for the storage."""

import pytest

from scheduler.cli.transfer.names import fitted, readable, sound
from scheduler.domain.addresses import check_key


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("café.jpg", "café.jpg"),
        ("caf\udce9.jpg", r"caf\xe9.jpg"),
        ("line\nbreak.jpg", r"line\nbreak.jpg"),
        ("a\u202egpj.exe", r"a\u202egpj.exe"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_what_a_terminal_cannot_show_is_escaped(name: str, shown: str) -> None:
    assert readable(name) == shown


def test_characters_that_a_storage_refuses_become_underscores() -> None:
    assert sound("a\\b\nc\udce9d ü.jpg") == "a_b_c_d ü.jpg"


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("photos%2Fcat.jpg", "photos_2Fcat.jpg"),
        ("a%252Fb.jpg", "a_252Fb.jpg"),
        ("a%5cb%20c.jpg", "a_5cb_20c.jpg"),
        ("%00.jpg", "_00.jpg"),
        ("%2e%2E", "_2e_2E"),
        ("%2525252541.jpg", "_2525252541.jpg"),
        ("100%.jpg", "100%.jpg"),
        ("a%20b.jpg", "a%20b.jpg"),
    ],
)
def test_percent_signs_become_underscores_where_the_api_refuses_them(name: str, stored: str) -> None:
    assert sound(name) == stored
    check_key(stored)


@pytest.mark.parametrize(
    ("stem", "room", "cut"), [("abc", 5, "abc"), ("abc", 2, "ab"), ("写写", 5, "写"), ("写", 2, "_")]
)
def test_a_stem_is_cut_between_characters(stem: str, room: int, cut: str) -> None:
    assert fitted(stem, room) == cut
