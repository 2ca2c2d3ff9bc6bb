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

#: Digits of a version that are enough for people.
SHORT = 12
_ABSENT = "–"


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
    """Return the card of a style."""
    card = {name: value for name, value in style.card.items() if name not in ("name", "version")}
    return page(
        [
            ("style", Text(style.name, style="bold")),
            ("version", style.version),
            *((name.replace("_", " "), str(each)) for name, each in card.items() if not isinstance(each, dict | list)),
            ("look", _look(card.get("look"))),
        ]
    )


def _look(look: Any) -> str | None:
    """Return a style's look as the options of a job have it."""
    if not isinstance(look, dict):
        return None
    return ", ".join(f"{name} {look[name]}" for name in ("stroke", "forms", "faces") if look.get(name) is not None)


def versions_table(versions: Sequence[StyleVersion], *, now: datetime | None = None) -> RenderableType:
    """Return the versions of a style as a table of 80 columns."""

    def row(version: StyleVersion) -> Iterator[RenderableType]:
        training = version.card.get("training")
        steps = version.card.get("steps") or (training.get("steps") if isinstance(training, dict) else None)
        yield Text(version.version[:SHORT], style="bold" if version.current else "")
        yield Text("current", style="green") if version.current else "" if version.published else "private"
        yield f"{steps:,}" if isinstance(steps, int) else _ABSENT
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
