"""Values of options that several commands parse alike."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast, get_args

from nst_core.blends import is_blend, parse_blend, styles_of, text_of
from nst_core.client.requests import in_utc
from nst_core.client.resources.jobs import MAX_REGIONS, STROKES, JobStatus, Priority, StrokeName, Upscale
from nst_core.errors import ConfigError
from scheduler.cli.exits import UsageError
from scheduler.cli.ui.words import PARTIAL
from scheduler.domain.naming import check_name_template

_SPAN = re.compile(r"(\d{1,12}(?:\.\d+)?)\s*([a-z]*)")
_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_LONGEST_S = 100 * 365 * 86_400


def parse_fields(options: Sequence[str]) -> dict[str, Any]:
    """Return options given as FIELD=VALUE; a value that is not JSON is a text."""
    parsed: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        if not equals or not name:
            raise UsageError(f"--set takes FIELD=VALUE, such as --set tv_weight=10, not {option!r}.")
        try:
            parsed[name] = json.loads(text)
        except ValueError:
            parsed[name] = text
        except RecursionError:
            raise UsageError(f"The value of --set {name} is nested too deeply.") from None
    return parsed


def parse_labels(options: Sequence[str]) -> dict[str, str]:
    """Return labels given as KEY=VALUE."""
    labels: dict[str, str] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or not key or key in labels:
            raise UsageError(f"--label takes KEY=VALUE, such as --label album=spring, each key once, not {option!r}.")
        labels[key] = value
    return labels


def job_terms(
    labels: Sequence[str],
    expires_after: str | None,
    deadline: datetime | None,
    *,
    priority: Priority,
    failures: int | None,
    attempts: int | None,
) -> dict[str, Any]:
    """Return the fields of a job's request that commands take alike; a deadline is a local time."""
    return {
        "metadata": parse_labels(labels),
        "expires_after_s": None if expires_after is None else parse_span(expires_after),
        "deadline": None if deadline is None else parse_moment(deadline),
        "priority": priority,
        "max_failures": failures,
        "max_attempts": attempts,
    }


def parse_moment(moment: datetime) -> datetime:
    """Return a local time in UTC; raise UsageError if UTC has no such time."""
    try:
        return in_utc(moment)
    except ConfigError as error:
        raise UsageError(error.message) from error


def parse_since(text: str) -> datetime:
    """Return, in UTC, the time that is given as a duration before now, such as 7d, or as a date or a local time."""
    text = text.strip()
    # Without a unit, 20261231 would be seconds.
    if (match := _SPAN.fullmatch(text.lower())) and match[2]:
        return datetime.now(UTC) - timedelta(seconds=parse_span(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is neither a duration such as 30m, 12h or 7d, nor a local time such as 2026-12-31 or "
            "2026-12-31T18:00."
        ) from None
    return parse_moment(moment)


def parse_span(text: str, *, zero: bool = False) -> float:
    """Return the seconds of a duration such as 90, 90s, 30m, 30min, 12h, 1.5d or 2w; 0 only if `zero` is set."""
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None or match[2] not in _SECONDS:
        raise UsageError(f"{text!r} is not a duration such as 90s, 30m, 12h, 1.5d or 2w.")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds == 0 and not zero:
        raise UsageError(f"{text!r} must be longer than 0 seconds.")
    if seconds > _LONGEST_S:
        raise UsageError(f"{text!r} is longer than a hundred years.")
    return seconds


def parse_stroke(text: str) -> float | StrokeName:
    """Return the size of strokes, given as a number, or as auto, fine or varied."""
    for name in get_args(StrokeName):
        if text.strip().lower() == name:
            return cast(StrokeName, name)
    try:
        stroke = float(text)
    except ValueError:
        stroke = 0.0
    if not STROKES[0] <= stroke <= STROKES[1]:
        least, most = STROKES
        raise UsageError(f"--stroke takes a number from {least:g} to {most:g}, auto, fine or varied, not {text!r}.")
    return stroke


def parse_upscale(number: int) -> Upscale:
    """Return how many times as long the sides of results get."""
    for known in get_args(Upscale):
        if known == number:
            return cast(Upscale, known)
    raise UsageError(f"--upscale takes {' or '.join(map(str, get_args(Upscale)[1:]))}, not {number}.")


def parse_style(text: str) -> tuple[str, str | None]:
    """Return the name and the version of a style given as NAME or NAME@VERSION; None means the current version."""
    name, at, version = text.partition("@")
    if not name or (at and not version):
        raise UsageError(f"A style is given as NAME or NAME@VERSION, not {text!r}.")
    return name, version or None


def parse_styles(options: Sequence[str]) -> list[str]:
    """Return styles and blends of styles; one option is a blend, or names styles, separated by commas."""
    texts = []
    for option in options:
        try:
            blend = text_of(parse_blend(option)) if is_blend(option) else None
        except ConfigError as error:
            raise UsageError(error.message) from error
        texts += [blend] if blend else [text.strip() for text in option.split(",") if text.strip()]
    for style in (style for text in texts for style in styles_of(text)):
        parse_style(style)
    return texts


def parse_regions(options: Sequence[str]) -> list[tuple[str, str | None]]:
    """Return style and mask of each region, given as STYLE=MASK, or as STYLE; a style may be a blend."""
    if len(options) > MAX_REGIONS:
        raise UsageError(f"--region may be given {MAX_REGIONS} times, not {len(options)}.")
    regions = []
    for option in options:
        style, equals, mask = option.partition("=")
        styles = parse_styles([style])
        if len(styles) != 1 or (equals and not mask):
            raise UsageError(f"--region takes STYLE=MASK, such as --region udnie=sky.png, not {option!r}.")
        regions.append((styles[0], mask or None))
    return regions


def parse_status(text: str) -> JobStatus:
    """Return the status of a job; `partial`, as lists show it, means partially_succeeded."""
    if text.lower() == PARTIAL:
        return JobStatus.PARTIALLY_SUCCEEDED
    try:
        return JobStatus(text.lower())
    except ValueError:
        known = ", ".join(status.value for status in JobStatus)
        raise UsageError(f"{text!r} is not a status of a job; known are {PARTIAL}, {known}.") from None


def check_template(template: str) -> None:
    """Raise UsageError if --name is not a valid template of file names."""
    try:
        check_name_template(template)
    except ConfigError as error:
        raise UsageError(f"--name {template!r}: {error.message}") from error


def given(**values: Any) -> dict[str, Any]:
    """Return the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}
