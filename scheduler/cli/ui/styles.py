"""How styles and their versions are shown."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Column
from rich.text import Text

from nst_core.client.resources.styles import Style, StyleVersion
from scheduler.cli.ui.tables import fixed, listing, number, page, rest
from scheduler.cli.ui.times import ago
from scheduler.domain.cards import trained_steps

#: Digits of a version that are enough for people.
SHORT = 12
_ABSENT = "–"
#: Objects in cards that have lines of their own.
_PARTS = ("look", "training", "final_losses", "evaluation", "made_from")
#: What was asked for, and what --json alone has; all else in `made_from` is a source.
_WISHES = ("preset", "family", "stroke", "strength", "exact")
_NO_SOURCES = (*_WISHES, "runs", "norms")
#: The fields of a config that people look for; --json has all.
_SHOWN_CONFIG = (
    "network",
    "size_px",
    "batch_size",
    "style_size_px",
    "content_layer",
    "learning_rate",
    "palette",
    "seed",
)


def styles_table(styles: Sequence[Style]) -> RenderableType:
    """Return styles as a table."""
    columns = (
        # People type the name, so it is never cut.
        fixed("style", min_width=max((len(style.name) for style in styles), default=0)),
        *(Column(title) for title in ("painting", "artist", "year")),
        fixed("version", min_width=8),
    )

    def row(style: Style) -> Iterator[RenderableType]:
        yield Text(style.name, style="bold")
        yield from (str(style.card.get(key, _ABSENT)) for key in ("title", "artist", "year"))
        yield Text(style.version[:SHORT], style="dim")

    return listing(columns, (list(row(style)) for style in styles), empty="There are no styles yet.")


def style_page(style: Style) -> RenderableType:
    """Return a style and its card."""
    return page(_style_rows(style))


def _style_rows(style: Style) -> Iterator[tuple[str, RenderableType | None]]:
    card = {name: value for name, value in style.card.items() if name not in ("name", "version")}
    yield "style", Text(style.name, style="bold")
    yield "version", style.version
    # Cards are from clients too, which may put anything anywhere.
    parts = {name: card.pop(name) for name in _PARTS if isinstance(card.get(name), dict)}
    if (steps := trained_steps(style.card)) is not None:
        card.pop("steps", None)  # those of the last run
    for name, value in card.items():
        if not isinstance(value, dict | list):
            yield name.replace("_", " "), str(value)
    made, evaluation = parts.get("made_from", {}), parts.get("evaluation", {})
    yield "look", _look(parts.get("look"))
    yield "steps", None if steps is None else f"{steps:,}"
    yield "preset", _wishes(made)
    yield "config", settings(parts.get("training", {}))
    yield "losses", numbers(parts.get("final_losses", {}))
    yield "evaluation", numbers(evaluation)
    remarks = evaluation.get("remarks")
    yield (
        "remarks",
        Text("\n".join(map(str, remarks)), style="yellow") if remarks and isinstance(remarks, list) else None,
    )
    yield "made from", _sources(made)
    for name, value in card.items():
        if isinstance(value, dict | list) and value:
            yield name.replace("_", " "), _pairs(value) if isinstance(value, dict) else ", ".join(map(str, value))


def _sources(made: Mapping[str, Any]) -> str:
    """Return what a style was made from, a line each: the painting, photos, and the weights that it began with."""
    sources = {name: value for name, value in made.items() if name not in _NO_SOURCES and value is not None}
    texts = {name: _pairs(value) if isinstance(value, dict) else value for name, value in sources.items()}
    return "\n".join(f"{name}: {text}" for name, text in texts.items())


def _wishes(made: Mapping[str, Any]) -> str:
    """Return the preset, and what a request for a training may change about it."""
    texts = [name if made[name] is True else f"{name} {made[name]}" for name in _WISHES if made.get(name)]
    return ", ".join(texts).removeprefix("preset ")


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {text}" for name, text in flat(values).items())


def _look(look: Any) -> str | None:
    """Return a style's look as the options of a job have it."""
    if not isinstance(look, dict):
        return None
    return ", ".join(f"{name} {look[name]}" for name in ("stroke", "forms", "faces") if look.get(name) is not None)


def versions_table(versions: Sequence[StyleVersion], *, now: datetime | None = None) -> RenderableType:
    """Return the versions of a style as a table of 80 columns."""

    def row(version: StyleVersion) -> Iterator[RenderableType]:
        steps = trained_steps(version.card)
        yield Text(version.version[:SHORT], style="bold" if version.current else "")
        yield Text("current", style="green") if version.current else "" if version.published else "private"
        yield _ABSENT if steps is None else f"{steps:,}"
        yield ago(version.created_at, now)
        yield version.run or str(version.card.get("origin", _ABSENT))

    columns = (fixed("version"), fixed(""), number("steps"), number("made"), fixed("by"))
    return listing(columns, (list(row(version)) for version in versions), empty="There are no versions.")


def diff_table(first: Style, second: Style, *, all_fields: bool = False) -> RenderableType:
    """Return the fields of two cards side by side: those that differ, or all."""
    ours, theirs = flat(first.card), flat(second.card)
    names = [*ours, *(name for name in theirs if name not in ours)]
    different = [name for name in names if ours.get(name, _ABSENT) != theirs.get(name, _ABSENT)]
    shown = names if all_fields else different
    columns = [rest("", style="dim")]
    for style in (first, second):
        title = Text.assemble((style.name, "bold"), (f"@{style.version[:SHORT]}", "dim"))
        columns.append(Column(title, overflow="fold", ratio=1))
    rows: list[tuple[RenderableType, ...]] = [
        (name, *(Text(side.get(name, _ABSENT), style="yellow" if name in different else "") for side in (ours, theirs)))
        for name in shown
    ]
    table = listing(columns, rows, empty="The cards are equal.")
    equal = len(names) - len(different)
    if all_fields or not different or not equal:
        return table
    note = f"{equal:,} {'field is' if equal == 1 else 'fields are'} equal (--all shows them)."
    return Group(table, Text(note, style="dim"))


def flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Return nested fields as texts under names like `training.steps`."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{name}.{inner}": text for inner, text in flat(value).items()}
        else:
            found[name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return found


def settings(config: Mapping[str, Any]) -> str:
    """Return the fields of a config that people look for."""
    return ", ".join(f"{name} {config[name]}" for name in _SHOWN_CONFIG if name in config)


def numbers(values: Mapping[str, Any]) -> str:
    """Return the numbers among some values, with four digits."""
    texts = []
    for name, text in flat(values).items():
        try:
            texts.append(f"{name} {float(text):.4g}")
        except ValueError:
            continue  # lists and sentences are only in --json
    return ", ".join(texts)
