"""What a terminal shows."""

import io

from rich.console import Console, RenderableType


def lines_of(renderable: RenderableType, width: int = 80) -> list[str]:
    """Return the lines that are not empty."""
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(renderable)
    lines = [line.rstrip() for line in console.export_text().splitlines() if line.strip()]
    assert max(map(len, lines), default=0) <= width
    return lines


def joined(renderable: RenderableType, width: int = 80) -> str:
    """Return the whole text with single spaces, with the lines of folded texts put together."""
    return " ".join(part for line in lines_of(renderable, width) for part in line.split())
