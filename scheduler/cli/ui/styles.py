"""What the commands show of styles and their versions."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scheduler.cli.ui.times import ago
from scheduler.resources import Style, StyleVersion

#: Digits of a version that are enough for people.
SHORT = 12
_ABSENT = "–"


def styles_table(styles: Sequence[Style]) -> RenderableType:
    """Return styles as a table, one line each."""
    if not styles:
        return Text("There are no styles yet.", style="dim")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    # The name is what one types, so it is never cut.
    table.add_column("style", no_wrap=True, min_width=max(len(style.name) for style in styles))
    table.add_column("painting")
    table.add_column("artist")
    table.add_column("year")
    table.add_column("version", no_wrap=True, min_width=8)
    for style in styles:
        card = style.card
        table.add_row(
            Text(style.name, style="bold"),
            *(escape(str(card.get(key, _ABSENT))) for key in ("title", "artist", "year")),
            Text(style.version[:SHORT], style="dim"),
        )
    return table


def style_page(style: Style) -> RenderableType:
    """Return a style's card."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right")
    grid.add_column(overflow="fold")
    grid.add_row("style", Text(style.name, style="bold"))
    grid.add_row("version", style.version)
    for key, value in style.card.items():
        if not isinstance(value, dict | list) and key not in ("name", "version"):
            grid.add_row(escape(key.replace("_", " ")), escape(str(value)))
    return grid


def versions_table(versions: Sequence[StyleVersion], *, now: datetime | None = None) -> RenderableType:
    """Return the versions of a style as a table, one line each."""
    # Fits into 80 columns.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("version", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("steps", no_wrap=True, justify="right")
    table.add_column("made", no_wrap=True, justify="right")
    table.add_column("by", no_wrap=True)
    for version in versions:
        training = version.card.get("training")
        steps = version.card.get("steps") or (training.get("steps") if isinstance(training, dict) else None)
        mark = Text("current", style="green") if version.current else Text("" if version.published else "private")
        table.add_row(
            Text(version.version[:SHORT], style="bold" if version.current else ""),
            mark,
            f"{steps:,}" if isinstance(steps, int) else _ABSENT,
            ago(version.created_at, now or datetime.now(UTC)),
            escape(version.run or str(version.card.get("origin", _ABSENT))),
        )
    return table


def diff_table(first: Style, second: Style, *, all_fields: bool = False) -> RenderableType:
    """Return the fields of two cards side by side: those that differ, or all."""
    ours, theirs = flat(first.card), flat(second.card)
    names = [*ours, *(name for name in theirs if name not in ours)]
    different = [name for name in names if ours.get(name, _ABSENT) != theirs.get(name, _ABSENT)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", style="dim", overflow="fold", ratio=1)
    for style in (first, second):
        table.add_column(
            Text.assemble((style.name, "bold"), (f"@{style.version[:SHORT]}", "dim")), overflow="fold", ratio=1
        )
    for name in names if all_fields else different:
        mark = "yellow" if name in different else ""
        table.add_row(escape(name), *(Text(side.get(name, _ABSENT), style=mark) for side in (ours, theirs)))
    if all_fields:
        return table
    equal = len(names) - len(different)
    rest = Text(f"{equal:,} {'field is' if equal == 1 else 'fields are'} equal (--all shows them).", style="dim")
    if not different:
        return Text("The cards are equal.", style="dim")
    return Group(table, rest) if equal else table


def flat(values: Mapping[str, Any]) -> dict[str, str]:
    """Return nested fields as texts under names like `training.steps`."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= {f"{name}.{inner}": text for inner, text in flat(value).items()}
        else:
            found[name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return found
