"""Progress of jobs on a terminal and elsewhere."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime

from rich.console import Console

from nst_core.client.resources.items import Item, ItemStatus, Progress
from nst_core.client.resources.jobs import Counts, InputSummary, Job, JobStatus, ResolvedOutput
from nst_core.client.resources.styles import JobStyle
from scheduler.cli.ui.progress import job_bar

JOB = Job(
    id="job_1",
    status=JobStatus.RUNNING,
    method="optimize",
    styles=(JobStyle(name="night", version="ab" * 32), JobStyle(name="day", version="cd" * 32)),
    input=InputSummary(prefix="s3://nst/in/"),
    output=ResolvedOutput(prefix="s3://nst/out/"),
    counts=Counts(total=3, running=2, pending=1),
    created_at=datetime(2026, 11, 22, tzinfo=UTC),
)


def item(index: int, iteration: int | None) -> Item:
    progress = None if iteration is None else Progress(iteration=iteration, iterations=50, losses={"style": 2.5})
    return Item(
        id=index, input=f"s3://nst/in/[{index}].jpg", style="night", status=ItemStatus.RUNNING, progress=progress
    )


def shown(*steps: list[Item], terminal: bool, job: Job = JOB) -> str:
    """Return what is printed when each of the steps is the running images of the job."""
    file, running = io.StringIO(), iter(steps)
    console = Console(file=file, force_terminal=terminal, width=120, color_system=None)
    with job_bar(console, lambda: iter(next(running))) as show:
        for _ in steps:
            show(job)
    return file.getvalue()


def last_frame(text: str) -> list[str]:
    """Return the lines that stay on the terminal, the job's first."""
    return text[text.rindex("running") :].splitlines()


def test_each_running_image_has_a_bar_below_the_one_of_the_job() -> None:
    text = shown([item(0, 5), item(1, None)], [item(0, 12), item(1, 3)], terminal=True)
    job, first, second = last_frame(text)[:3]
    assert "0/3" in job
    assert all(part in first for part in ("[0].jpg × night", "12/50", "loss 2.5"))
    assert all(part in second for part in ("[1].jpg × night", "3/50"))


def test_the_bar_of_a_finished_image_is_removed() -> None:
    text = shown([item(0, 49)], [], terminal=True)
    assert "[0].jpg" in text
    assert "[0].jpg" not in "".join(last_frame(text))


def test_without_a_terminal_each_tenth_of_the_iterations_is_a_line() -> None:
    steps = [[item(0, iteration)] for iteration in (1, 2, 5, 9, 10)]
    lines = shown(*steps, [item(1, None)], terminal=False).splitlines()
    assert lines == [
        "job_1 running: 0 of 3",
        "job_1 [0].jpg × night: iteration 1 of 50, loss 2.5",
        "job_1 [0].jpg × night: iteration 5 of 50, loss 2.5",
        "job_1 [0].jpg × night: iteration 10 of 50, loss 2.5",
    ]


def test_running_images_are_not_asked_for_once_one_has_finished_without_iterations() -> None:
    asked = []

    def running() -> Iterator[Item]:
        asked.append(1)
        return iter([item(0, None)])

    with job_bar(Console(file=io.StringIO()), running) as show:
        for finished in (0, 0, 1, 2):
            show(
                JOB.model_copy(update={"counts": Counts(total=3, succeeded=finished, running=1, pending=2 - finished)})
            )
    assert len(asked) == 2


def test_iterations_are_still_shown_when_other_images_have_finished() -> None:
    file, running = io.StringIO(), iter([[item(0, 1)], [item(1, 7)]])
    with job_bar(Console(file=file, width=120), lambda: iter(next(running))) as show:
        show(JOB)
        show(JOB.model_copy(update={"counts": Counts(total=3, succeeded=1, running=1, pending=1)}))
    assert "job_1 [1].jpg × night: iteration 7 of 50, loss 2.5" in file.getvalue().splitlines()
