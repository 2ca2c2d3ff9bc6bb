"""Values of options."""

from datetime import UTC, datetime

import pytest

from nst_core.client.resources.jobs import JobStatus
from scheduler.cli.exits import UsageError
from scheduler.cli.options import (
    check_template,
    given,
    parse_fields,
    parse_labels,
    parse_regions,
    parse_since,
    parse_span,
    parse_status,
    parse_stroke,
    parse_styles,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("30m", 1800),
        ("30min", 1800),
        ("2h", 7200),
        (" 12 H ", 43_200),
        ("1.5d", 129_600),
        ("2w", 1_209_600),
        ("0.5", 0.5),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_span(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "-1", "1y", "1e3", "1.h", "2h30m", "1,5d", "0", "0.0s", "101000w", "9" * 30]
)
def test_what_is_not_a_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"duration|longer"):
        parse_span(text)


def test_since_takes_durations_and_times() -> None:
    ago = (datetime.now(UTC) - parse_since("1.5d")).total_seconds()
    assert ago == pytest.approx(129_600, abs=60)
    assert parse_since("2026-12-31") == datetime(2026, 12, 31).astimezone(UTC)
    assert parse_since("20261231") == parse_since("2026-12-31")
    assert parse_since("2026-12-31T18:00") == parse_since("2026-12-31 18:00:00")
    assert parse_since("2026-12-31T18:00:00+02:00") == datetime(2026, 12, 31, 16, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "1y", "0", "90", "2026", "2026-02-30", "31.12.2026", "0001-01-01T00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"neither a duration|not a duration|longer|too early"):
        parse_since(text)


def test_zero_is_a_duration_only_where_it_makes_sense() -> None:
    assert parse_span("0s", zero=True) == 0


@pytest.mark.parametrize(
    ("text", "stroke"),
    [("0.5", 0.5), ("2", 2.0), ("4.0", 4.0), ("auto", "auto"), (" Auto ", "auto"), ("varied", "varied")],
)
def test_a_stroke_is_a_number_or_auto(text: str, stroke: float | str) -> None:
    assert parse_stroke(text) == stroke


@pytest.mark.parametrize("text", ["", "0", "0.49", "4.01", "-1", "nan", "inf", "1,5", "large"])
def test_what_is_not_a_stroke_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--stroke takes a number from 0\.5 to 4, auto, fine or varied, not "):
        parse_stroke(text)


def test_the_value_of_a_field_is_json_or_a_text() -> None:
    assert parse_fields(["steps=3", 'content={"relu2_1": 1}', "network=vgg19", "name=a=b"]) == {
        "steps": 3,
        "content": {"relu2_1": 1},
        "network": "vgg19",
        "name": "a=b",
    }


@pytest.mark.parametrize("option", ["seed", "=3"])
def test_a_field_needs_a_name_and_a_value(option: str) -> None:
    with pytest.raises(UsageError, match="FIELD=VALUE"):
        parse_fields([option])


def test_each_label_is_given_once() -> None:
    assert parse_labels(["album=spring", "note="]) == {"album": "spring", "note": ""}
    with pytest.raises(UsageError, match="each key once"):
        parse_labels(["album=spring", "album=summer"])


def test_styles_are_separated_by_commas_or_given_one_by_one() -> None:
    assert parse_styles(["a, b@12345678", "c"]) == ["a", "b@12345678", "c"]
    with pytest.raises(UsageError, match="NAME@VERSION"):
        parse_styles(["a@"])


def test_a_region_is_a_style_or_a_blend_with_a_mask() -> None:
    options = ["udnie=sky.png", "a:1,b:1=s3://nst/x=y.png", "udnie@12345678"]
    assert parse_regions(options) == [
        ("udnie", "sky.png"),
        ("a:0.5,b:0.5", "s3://nst/x=y.png"),
        ("udnie@12345678", None),
    ]


@pytest.mark.parametrize("option", ["", "=sky.png", "udnie=", "a,b=sky.png"])
def test_what_is_not_a_region_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match=r"^--region takes STYLE=MASK, such as"):
        parse_regions([option])


def test_a_job_has_a_limited_number_of_regions() -> None:
    assert len(parse_regions(["udnie=sky.png"] * 8)) == 8
    with pytest.raises(UsageError, match="--region may be given 8 times, not 9"):
        parse_regions(["udnie=sky.png"] * 9)


def test_an_option_with_shares_is_a_blend() -> None:
    assert parse_styles(["a:2, b@12345678:3", "a,b"]) == ["b@12345678:0.6,a:0.4", "a", "b"]
    with pytest.raises(UsageError, match="NAME@VERSION"):
        parse_styles(["a@:1,b:1"])
    with pytest.raises(UsageError, match="NAME:SHARE"):
        parse_styles(["a:1,b"])


def test_partial_is_short_for_partially_succeeded() -> None:
    assert parse_status("Partial") is parse_status("partially_succeeded") is JobStatus.PARTIALLY_SUCCEEDED
    with pytest.raises(UsageError, match="known are partial, queued"):
        parse_status("done")


def test_a_template_must_give_different_names() -> None:
    check_template("{stem}.{ext}")
    with pytest.raises(UsageError, match="--name"):
        check_template("{nonsense}")


def test_what_was_not_given_is_left_out() -> None:
    assert given(a=None, b=0, c="") == {"b": 0, "c": ""}
