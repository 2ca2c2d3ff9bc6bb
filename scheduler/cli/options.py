"""Options that several commands parse alike."""

import json
from collections.abc import Sequence
from typing import Any

from scheduler.cli.exits import UsageError


def parse_fields(options: Sequence[str]) -> dict[str, Any]:
    """Return options given as FIELD=VALUE, where the value is JSON, or a plain text."""
    parsed: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or not name:
            raise UsageError(f"--set takes FIELD=VALUE, such as --set tv_weight=10, not {option!r}.")
        try:
            parsed[name] = json.loads(text)
        except ValueError:
            parsed[name] = text
    return parsed


def parse_style(text: str) -> tuple[str, str | None]:
    """Return the name and the version of a style given as NAME or NAME@VERSION; None: the version it has now."""
    name, at, version = text.partition("@")
    if not name or (at and not version):
        raise UsageError(f"A style is given as NAME or NAME@VERSION, not {text!r}.")
    return name, version or None


def given(**values: Any) -> dict[str, Any]:
    """Return the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}
