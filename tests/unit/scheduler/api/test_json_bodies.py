"""JSON bodies are measured before they are parsed, and refused for what databases and answers cannot have."""

import json

import pytest
from fastapi.exceptions import RequestValidationError

from scheduler.api.json_bodies import MAX_DEPTH, MAX_VALUES, measure, parse
from scheduler.domain.errors import MalformedJsonError, TooLargeError

MIB = 2**20


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({f"k{number}": 0 for number in range(MAX_VALUES + 1)}).encode(),
        json.dumps(["x"] * (MAX_VALUES + 1)).encode(),
        b"[" + b"{}," * MAX_VALUES + b"{}]",
        b'["' + b'","' * (4 * MIB // 3) + b'"]',
        b'"' * (4 * MIB),
        b"," * (4 * MIB),
    ],
)
def test_too_many_values_are_refused_unparsed(body: bytes) -> None:
    with pytest.raises(TooLargeError):
        measure(body)


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_deep_nesting_is_refused_unparsed(opening: bytes) -> None:
    with pytest.raises(MalformedJsonError, match="deep"):
        measure(opening * 5000)
    with pytest.raises(MalformedJsonError, match="deep"):
        measure(opening * (MAX_DEPTH + 1))


def test_what_stands_in_texts_is_not_counted() -> None:
    value = {"a": '[{,"\\' * 100_000, "b\\": '"[', 'c"': ["\\\\"] * 10}
    assert parse(json.dumps(value).encode()) == value


def test_as_many_values_as_allowed_are_read() -> None:
    assert parse(json.dumps([0] * MAX_VALUES).encode()) == [0] * MAX_VALUES
    nested = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert json.dumps(parse(nested)).encode() == nested


@pytest.mark.parametrize(
    "body",
    [
        b'"' + b'\\"' * (2 * MIB),
        b'"' + b"\\" * (4 * MIB),
        b"\\" * (4 * MIB),
        b'"\\"' * 10_000,
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * (4 * MIB) + b"}",
        b'{"a": 0.' + b"1" * (4 * MIB) + b"}",
        b'{"a": 18446744073709551616}',
        b'{"a": 1, "b": 2, "a": 3}',
        b'[{"x": {"a": 1, "\\u0061": 3}}]',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        '{"a": 1}'.encode("utf-16"),
        b"[1, 2",
        b"nonsense",
        b"",
    ],
)
def test_what_is_no_json_is_refused_in_linear_time_with_a_short_sentence(body: bytes) -> None:
    with pytest.raises(MalformedJsonError) as caught:
        parse(body)
    assert len(caught.value.message) < 250


@pytest.mark.parametrize("text", ['"\\u0000"', '"a\\ud800b"', '["x", "\\udfff"]', '{"a": {"\\u0000": 1}}'])
def test_text_that_no_database_takes_is_refused(text: str) -> None:
    with pytest.raises(RequestValidationError):
        parse(text.encode())


def test_pairs_of_surrogates_and_a_byte_order_mark_are_read() -> None:
    assert parse(b'\xef\xbb\xbf["\\ud83d\\ude00", "\xf0\x9f\x98\x80"]') == ["\U0001f600"] * 2
