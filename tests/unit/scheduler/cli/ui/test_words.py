"""Numbers with their nouns, and statuses."""

import pytest

from nst_core.client.resources.jobs import JobStatus
from scheduler.cli.ui.words import count_of, marked, status_text


def test_a_noun_is_in_the_plural_except_after_one() -> None:
    assert [count_of(number, "image") for number in (0, 1, 2, 1200)] == [
        "0 images",
        "1 image",
        "2 images",
        "1,200 images",
    ]


@pytest.mark.parametrize(
    ("status", "mark"), [("succeeded", "✓"), ("paused", "!"), ("failed", "✗"), ("cancelled", "✗"), ("pending", "…")]
)
def test_a_status_has_a_mark(status: str, mark: str) -> None:
    assert marked(status, "A", "B").plain == f"{mark} AB"


def test_a_status_is_shown_in_its_colour() -> None:
    assert (str(status_text(JobStatus.FAILED)), status_text(JobStatus.FAILED).style) == ("failed", "red")
    assert (str(status_text("failed", "worker_lost")), status_text("queued").style) == ("worker_lost", "dim")
