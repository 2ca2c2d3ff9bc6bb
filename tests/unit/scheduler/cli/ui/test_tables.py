"""Tables and pages."""

from rich.text import Text

from scheduler.cli.ui.tables import fixed, listing, none_of, number, page, rest
from tests.unit.scheduler.cli.ui.screen import lines_of


def test_a_table_has_a_line_for_each_row_and_numbers_are_aligned_to_the_right() -> None:
    lines = lines_of(listing((fixed("name"), number("count")), [("a", "1"), ("b", "1,000")]))
    assert [lines[0], *lines[2:]] == [" name  count", " a         1", " b     1,000"]


def test_no_rows_are_a_sentence() -> None:
    assert lines_of(listing((fixed("name"),), iter(()), empty="There are no names.")) == ["There are no names."]


def test_the_last_column_takes_the_rest_and_folds() -> None:
    lines = lines_of(listing((fixed("id"), rest("address")), [("x" * 30, "y" * 80)]), 60)
    assert [line.split() for line in lines[2:]] == [["x" * 30, "y" * 26], ["y" * 26], ["y" * 26], ["y" * 2]]


def test_text_is_never_markup() -> None:
    assert lines_of(listing((fixed("name"),), [("[red]x[/red]",)]))[2] == " [red]x[/red]"
    assert lines_of(page([("name", "[/]"), ("[b]", "x")])) == ["name  [/]", " [b]  x"]


def test_a_page_leaves_out_what_is_empty() -> None:
    assert lines_of(page([("a", "1"), ("long name", Text("2")), ("b", None), ("c", "")])) == [
        "        a  1",
        "long name  2",
    ]


def test_an_empty_list_says_whether_there_may_be_others() -> None:
    assert none_of("jobs", filtered=False, yet=True) == "There are no jobs yet."
    assert none_of("keys", filtered=False) == "There are no keys."
    assert none_of("jobs", filtered=True, yet=True) == "There are no such jobs."
