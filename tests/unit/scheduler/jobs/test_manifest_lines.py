"""Tests of scheduler.jobs.manifest_lines; test_manifests.py has the forms of whole manifests."""

from typing import Any

import pytest

from scheduler.jobs.inputs import InputEntry
from scheduler.jobs.manifest_lines import columns, fields, parse


def entry(values: Any) -> InputEntry:
    return parse(lambda: values, 7, lambda uri: uri.bucket == "nst")


def test_a_line_names_a_photo_and_its_masks() -> None:
    values = {
        "input": "s3://nst/a.jpg",
        "custom_id": "a",
        "mask": "s3://nst/m.png",
        "regions": [None, "s3://nst/r.png"],
        "note": 7,
    }
    assert entry(values) == InputEntry(
        uri="s3://nst/a.jpg", custom_id="a", mask="s3://nst/m.png", regions=(None, "s3://nst/r.png"), line=7
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"input": "s3://other/a.jpg"}, "s3://other/a.jpg is not an object that the job may read"),
        ({"input": "s3://nst/"}, "s3://nst/ is not an object that the job may read"),
        ({"input": "s3://nst/a.jpg", "mask": "s3://other/m.png"}, "s3://other/m.png is not an object"),
        ({"input": "s3://nst/a.jpg", "regions": ["s3://other/m.png"]}, "s3://other/m.png is not an object"),
        ({"input": "s3://nst/a.jpg", "custom_id": "i" * 256}, "custom_id is not a plain text of at most 255"),
        ({"input": "s3://nst/a.jpg", "custom_id": 7}, "custom_id is not a plain text"),
        ({"input": "s3://nst/\0.jpg"}, "input has characters that no address has"),
        ({"photo": "s3://nst/a.jpg"}, 'not a JSON object with a text "input"'),
        (["s3://nst/a.jpg"], 'not a JSON object with a text "input"'),
    ],
)
def test_a_line_that_cannot_be_used_fails_alone(values: Any, message: str) -> None:
    found = entry(values)
    assert (found.uri, found.line) == ("line:7", 7)
    assert found.error is not None
    assert found.error.code == "input_invalid"
    assert found.error.message.startswith("Line 7 of the manifest: ")
    assert message in found.error.message


@pytest.mark.parametrize(
    ("header", "names", "delimiter"),
    [
        ("Input, Custom_ID", ("input", "custom_id"), ","),
        ('"a;b";input;mask', ("a;b", "input", "mask"), ";"),
        ("id\tinput", ("id", "input"), "\t"),
    ],
)
def test_columns_are_named_by_the_header(header: str, names: tuple[str, ...], delimiter: str) -> None:
    assert columns(header) == (names, delimiter)


def test_fields_may_be_in_quotes() -> None:
    assert fields('"s3://nst/a, b.jpg",""""', ",") == ["s3://nst/a, b.jpg", '"']
    assert fields("", ",") == []
