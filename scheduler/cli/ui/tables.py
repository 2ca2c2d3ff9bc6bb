"""Tables and pages of names and values. A `str` is always shown as it is, never read as markup."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

Rows = Iterable[Sequence[RenderableType]]


def fixed(title: str, **more: Any) -> Column:
    """Return a column that is never cut or folded."""
    return Column(title, no_wrap=True, **more)


def number(title: str) -> Column:
    """Return a column of numbers or times, aligned to the right."""
    return Column(title, no_wrap=True, justify="right")


def rest(title: str, **more: Any) -> Column:
    """Return a column that takes the rest of the width and folds long values."""
    return Column(title, ratio=1, **{"overflow": "fold", **more})


def none_of(things: str, *, filtered: bool, yet: bool = False) -> str:
    """Return the sentence for an empty list of `things`; if it was `filtered`, there may be others."""
    return f"There are no such {things}." if filtered else f"There are no {things}{' yet' if yet else ''}."


def listing(columns: Iterable[Column], rows: Rows, *, empty: str = "") -> RenderableType:
    """Return rows as a table, or the sentence `empty` if there are none."""
    shown = [[_plain(cell) for cell in row] for row in rows]
    if not shown:
        return Text(empty, style="dim")
    columns = list(columns)
    expand = any(column.ratio for column in columns)
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), expand=expand)
    for row in shown:
        table.add_row(*row)
    return table


def page(rows: Iterable[tuple[str, RenderableType | None]]) -> Table:
    """Return names and values, one pair a line; values that are None or empty are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        if value is not None and value != "":
            grid.add_row(Text(name), _plain(value))
    return grid


def _plain(value: RenderableType) -> RenderableType:
    return Text(value) if isinstance(value, str) else value
