"""Numbers with their nouns, and statuses in their colours."""

from rich.text import Text

from nst_core.client.resources.jobs import Job
from nst_core.client.resources.runs import Run

#: How lists abbreviate partially_succeeded, which would push other columns out.
PARTIAL = "partial"
_COLOURS = {
    **dict.fromkeys(("succeeded", "active", "delivered", "enabled"), "green"),
    **dict.fromkeys(("partially_succeeded", "partial", "paused", "failing"), "yellow"),
    **dict.fromkeys(("failed", "revoked"), "red"),
    **dict.fromkeys(("cancelled", "expired"), "magenta"),
    **dict.fromkeys(("running", "evaluating"), "cyan"),
}
_MARKS = {"green": "✓ ", "yellow": "! ", "red": "✗ ", "magenta": "✗ "}


def count_of(number: int, noun: str) -> str:
    """Return a number and its noun: 1 image, 2 images, 1,200 images."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def status_text(status: str, text: str | None = None) -> Text:
    """Return a status in its colour, or another text in that colour."""
    return Text(text or str(status), style=_COLOURS.get(status, "dim"))


def status_line(thing: Job | Run) -> Text:
    """Return the status of a job or a training, and its id."""
    return status_text(thing.status).append(f" {thing.id}", style="dim")


def marked(status: str, *parts: str) -> Text:
    """Return a sentence after the mark of a status: ✓ for success, ! for a warning, ✗ for the rest."""
    colour = _COLOURS.get(status, "cyan")
    return Text.assemble((_MARKS.get(colour, "… "), f"bold {colour}"), *parts)
