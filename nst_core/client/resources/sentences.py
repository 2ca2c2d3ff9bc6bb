"""Sentences for people about invalid fields; pydantic's own messages are for those who know the model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from nst_core.client.resources.styles import PAINTED_PATTERN

#: What a text is that has a pattern. The pattern itself would be no answer.
PATTERNS: Mapping[str, str] = {
    r"^s3://": "An address begins with s3://.",
    r"^s3://[^/]+": "An address begins with s3:// and a bucket.",
    r"^[\w.-]{1,64}(@[0-9a-f]{8,64})?$": "A style is given as NAME, or as NAME@ and 8 to 64 hex digits of a version.",
    PAINTED_PATTERN: (
        "A style is given as NAME, or as NAME@ and 8 to 64 hex digits of a version; a blend of 2 to 4 styles as "
        "NAME:SHARE,NAME:SHARE."
    ),
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$": (
        "A new style's name has 1 to 64 letters, digits, dots, underscores and hyphens, and begins with a letter or "
        "a digit."
    ),
    r"^[\w.-]{1,64}$": "A name or an id has 1 to 64 letters, digits, dots, underscores and hyphens.",
    r"^[A-Za-z0-9._-]{1,64}$": "A job's id must have 1 to 64 letters, digits, dots, underscores and hyphens.",
    r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$": (
        "A tenant's name has 1 to 64 letters, digits, underscores and hyphens, and begins with a letter or a digit."
    ),
    r"^[0-9a-f]{8,64}$": "A version is given with 8 to 64 hex digits.",
    r"^[0-9a-f]{64}$": "This is a whole version: 64 hex digits.",
    r"^[0-9a-f]{8}$": "A key's id has 8 hex digits.",
    r"^[a-z0-9_]{1,16}$": "A method's name has 1 to 16 small letters, digits and underscores.",
    r"^[a-z0-9_]{1,64}$": "A code has 1 to 64 small letters, digits and underscores.",
    r"^[^\x00-\x1f\x7f]+$": "The name has no control characters.",
}
_OTHER_PATTERN = "The text has characters that are not allowed here."


def sentence(error: Mapping[str, Any]) -> str:
    """Return a sentence about an error as pydantic lists it."""
    make = _SENTENCES.get(error["type"])
    values = error.get("ctx") or {}
    try:
        return make(values) if make is not None else _as_sentence(str(error["msg"]))
    except KeyError:
        return _as_sentence(str(error["msg"]))


def explain(error: ValidationError) -> str:
    """Return a line about the first invalid field, such as `/output/quality: The number is 100 or less.`"""
    first = error.errors()[0]
    return f"{pointer(first['loc']) or 'request'}: {sentence(first)}"


def pointer(parts: Sequence[str | int]) -> str:
    """Return a JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _as_sentence(text: str) -> str:
    text = text.removeprefix("Value error, ").removeprefix("Assertion failed, ").strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else text + "."


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _too_short_text(values: Mapping[str, Any]) -> str:
    least = values["min_length"]
    return "The text is empty." if least == 1 else f"The text has at least {least:,} characters."


def _fixed(text: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda values: text


def _choice(values: Mapping[str, Any]) -> str:
    # Pydantic lists them in quotes.
    return f"The value is one of {values['expected']}.".replace("'", "")


_WHOLE = _fixed("This is a whole number.")
_NUMBER = _fixed("This is a number.")
_TRUTH = _fixed("This is true or false.")
_LIST = _fixed("This is a list.")
_OBJECT = _fixed("This is an object.")
_TIME = _fixed("This is a time with its offset, such as 2026-11-22T12:00:00Z.")
_SENTENCES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": _fixed("The field is missing."),
    "extra_forbidden": _fixed("There is no such field."),
    "string_type": _fixed("This is a text."),
    "string_pattern_mismatch": lambda values: PATTERNS.get(values["pattern"], _OTHER_PATTERN),
    "string_too_long": lambda values: f"The text may have at most {values['max_length']:,} characters.",
    "string_too_short": _too_short_text,
    "too_long": lambda values: f"At most {_counted(values['max_length'], 'entry is', 'entries are')} allowed.",
    "too_short": lambda values: f"At least {_counted(values['min_length'], 'entry is', 'entries are')} needed.",
    "greater_than_equal": lambda values: f"The number is {values['ge']:,} or more.",
    "greater_than": lambda values: f"The number is more than {values['gt']:,}.",
    "less_than_equal": lambda values: f"The number is {values['le']:,} or less.",
    "less_than": lambda values: f"The number is less than {values['lt']:,}.",
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "enum": _choice,
    "literal_error": _choice,
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "datetime_object_invalid": _TIME,
    "timezone_aware": _TIME,
    "value_error": lambda values: _as_sentence(str(values["error"])),
}
