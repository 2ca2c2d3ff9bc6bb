"""Options that several commands parse alike."""

import json
import re
from collections.abc import Sequence
from typing import Any

from nst_core.errors import ConfigError
from scheduler.cli.exits import UsageError
from scheduler.domain.jobs import JobStatus, check_name_template

#: How lists call the one long status.
PARTIAL = "partial"


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


def parse_labels(options: Sequence[str]) -> dict[str, str]:
    """Return metadata given as KEY=VALUE."""
    labels: dict[str, str] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key or key in labels:
            raise UsageError(f"--label takes KEY=VALUE, such as --label album=spring, each key once, not {option!r}.")
        labels[key] = value
    return labels


_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)?")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def parse_span(text: str) -> float:
    """Return the seconds of a length of time such as 90, 90s, 30min, 2h or 1.5d."""
    match = _SPAN.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise UsageError(f"{text!r} is no length of time such as 90s, 30min, 2h or 1.5d.")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def parse_style(text: str) -> tuple[str, str | None]:
    """Return the name and the version of a style given as NAME or NAME@VERSION; None: the version it has now."""
    name, at, version = text.partition("@")
    if not name or (at and not version):
        raise UsageError(f"A style is given as NAME or NAME@VERSION, not {text!r}.")
    return name, version or None


def parse_styles(options: Sequence[str]) -> list[tuple[str, str | None]]:
    """Return names and versions of styles, several of which may be in one option with commas between them."""
    return [parse_style(text.strip()) for option in options for text in option.split(",") if text.strip()]


def parse_status(text: str) -> JobStatus:
    """Return a job's status from its name; `partial`, as lists have it, is partially_succeeded."""
    if text.lower() == PARTIAL:
        return JobStatus.PARTIALLY_SUCCEEDED
    try:
        return JobStatus(text.lower())
    except ValueError:
        known = ", ".join(status.value for status in JobStatus)
        raise UsageError(f"{text!r} is no status of a job; known are {PARTIAL}, {known}.") from None


def check_template(template: str) -> None:
    """Raise UsageError if --name gives no names of files."""
    try:
        check_name_template(template)
    except ConfigError as error:
        raise UsageError(f"--name {template!r}: {error.message}") from error


def given(**values: Any) -> dict[str, Any]:
    """Return the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}
