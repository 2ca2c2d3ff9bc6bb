"""Progress of optimisations on a terminal and elsewhere."""

import io

from rich.console import Console

from nst_core.protocol.chunks import ItemStatus, Method, StyleRef
from scheduler.cli.ui.iterations import iteration_bars
from scheduler.domain.jobs import Counts, JobStatus
from scheduler.resources import Input, Item, Job, Output, Progress

JOB = Job(
    id="job_1",
    status=JobStatus.RUNNING,
    method=Method.OPTIMIZE,
    styles=(StyleRef(name="night", version="ab" * 32), StyleRef(name="day", version="cd" * 32)),
    input=Input(prefix="s3://nst/in/"),
    output=Output(prefix="s3://nst/out/"),
    counts=Counts(total=3, succeeded=1, running=2),
)


def item(index: int, iteration: int | None) -> Item:
    progress = None if iteration is None else Progress(iteration=iteration, iterations=50, losses={"style": 2.5})
    return Item(
        id=index, input=f"s3://nst/in/[{index}].jpg", style="night", status=ItemStatus.RUNNING, progress=progress
    )


def shown(*steps: list[Item], terminal: bool) -> str:
    """Return what is written when the running items are, one after the other, those of the steps."""
    file = io.StringIO()
    with iteration_bars(Console(file=file, force_terminal=terminal, width=120, color_system=None)) as show:
        for running in steps:
            show(JOB, running)
    return file.getvalue()


def last_frame(text: str) -> list[str]:
    """Return the lines that stay on the terminal, the job's first."""
    return text[text.rindex("running") :].splitlines()


def test_each_image_in_work_has_a_bar_beside_that_of_the_job() -> None:
    text = shown([item(0, 5), item(1, None)], [item(0, 12), item(1, 3)], terminal=True)
    job, first, second = last_frame(text)[:3]
    assert "1/3" in job
    assert all(part in first for part in ("[0].jpg × night", "12/50", "loss 2.5"))
    assert all(part in second for part in ("[1].jpg × night", "3/50"))


def test_an_image_that_is_done_has_no_bar_any_more() -> None:
    text = shown([item(0, 49)], [], terminal=True)
    assert "[0].jpg" in text
    assert "[0].jpg" not in "".join(last_frame(text))


def test_elsewhere_there_is_a_line_for_each_tenth_of_the_iterations() -> None:
    steps = [[item(0, iteration)] for iteration in (1, 2, 5, 9, 10)]
    lines = shown(*steps, [item(1, None)], terminal=False).splitlines()
    assert lines == [
        "job_1 running: 1 of 3",
        "job_1 [0].jpg × night: iteration 1 of 50, loss 2.5",
        "job_1 [0].jpg × night: iteration 5 of 50, loss 2.5",
        "job_1 [0].jpg × night: iteration 10 of 50, loss 2.5",
    ]
