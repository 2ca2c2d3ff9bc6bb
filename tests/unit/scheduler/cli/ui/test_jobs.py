"""How jobs are shown, and that it fits on a terminal."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from nst_core.client.resources.base import Failure
from nst_core.client.resources.items import Item, ItemStatus
from nst_core.client.resources.jobs import Counts, InputSummary, Job, JobRegion, JobStatus, ResolvedOutput
from nst_core.client.resources.styles import JobStyle
from scheduler.cli.ui import jobs as render
from tests.unit.scheduler.cli.ui.screen import joined, lines_of

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


JOB = Job(
    id="job_01a200f49ffc70780bfa5c52",
    status=JobStatus.PARTIALLY_SUCCEEDED,
    styles=(JobStyle(name="great_wave", version="ab" * 32), JobStyle(name="udnie", version="cd" * 32)),
    input=InputSummary(prefix="s3://nst/in/"),
    output=ResolvedOutput(prefix="s3://nst/out/"),
    counts=Counts(total=40, succeeded=30, failed=10),
    created_at="2026-11-22T11:40:00Z",
    started_at="2026-11-22T11:40:01Z",
    finished_at="2026-11-22T11:40:11Z",
)


def test_jobs_fit_into_eighty_columns() -> None:
    lines = lines_of(render.jobs_table([JOB, JOB.model_copy(update={"status": JobStatus.CANCELLING})], now=NOW))
    assert max(map(len, lines)) <= 80
    assert lines[2].split()[:7] == [JOB.id, "partial", "40/40", "✗10", "20", "min", "ago"]
    # Long values continue on the next line.
    assert "…" not in "".join(lines)
    assert sum("great_wave" in line for line in lines) == 2
    assert sum("udnie" in line for line in lines) == 2
    assert any("cancelling" in line for line in lines)


def test_one_image_is_singular_and_a_slow_rate_is_left_out() -> None:
    one = JOB.model_copy(update={"status": JobStatus.SUCCEEDED, "counts": Counts(total=1, succeeded=1)})
    assert render.job_summary(one, "out").plain == "✓ 1 image in 10.0 s (0.1 images/s) → out"
    slow = one.model_copy(update={"finished_at": datetime.fromisoformat("2026-11-22T12:40:01Z")})
    assert render.job_summary(slow, "out").plain == "✓ 1 image in 1:00:00 → out"


def test_only_an_exact_job_shows_its_precision() -> None:
    exact = JOB.model_copy(update={"precision": "exact"})
    shown = ["strength 1, exact, format keep" in joined(render.job_page(job)) for job in (JOB, exact)]
    assert shown == [False, True]


def test_a_job_shows_its_regions() -> None:
    style = JobStyle(name="udnie", version="cd" * 32)
    regions = (JobRegion(style=style, mask="s3://nst/sky.png"), JobRegion(style=style))
    page = joined(render.job_page(JOB.model_copy(update={"regions": regions})))
    assert "udnie in s3://nst/sky.png" in page
    assert "udnie in masks of photos" in page


@pytest.mark.parametrize(
    ("stroke", "shown"),
    [
        (None, ""),
        (2.0, "stroke 2, "),
        (0.75, "stroke 0.75, "),
        ("auto", "stroke auto, "),
        ("varied", "stroke varied, "),
    ],
)
def test_a_job_shows_the_size_of_its_strokes_if_it_has_one(stroke: float | str | None, shown: str) -> None:
    page = joined(render.job_page(JOB.model_copy(update={"stroke": stroke})))
    assert f"strength 1, {shown}format keep" in page


def test_a_job_shows_its_forms_if_it_has_some() -> None:
    assert "strength 1, forms planes, format keep" in joined(
        render.job_page(JOB.model_copy(update={"forms": "planes"}))
    )


def test_a_job_shows_whose_look_it_has() -> None:
    page = joined(render.job_page(JOB.model_copy(update={"look": "gallery", "stroke": "auto"})))
    assert "strength 1, look gallery, stroke auto, format keep" in page


def test_a_job_shows_how_much_its_results_are_enlarged() -> None:
    assert "sides 4 times as long, format keep" in joined(render.job_page(JOB.model_copy(update={"upscale": 4})))


def test_no_jobs_are_a_sentence() -> None:
    assert lines_of(render.jobs_table([])) == ["There are no jobs yet."]


def test_a_job_page_shows_everything() -> None:
    error = Failure(code="image_too_small", message="The image has 3 x 3 pixels.")
    failed = Item(id=0, input="s3://nst/in/sub/a.jpg", style="udnie", status=ItemStatus.FAILED, error=error)
    text = "\n".join(lines_of(render.job_page(JOB, [failed])))
    for part in ("40  (30 succeeded, 10 failed)", "s3://nst/out/", "udnie cdcdcdcdcdcd", "10.0 s"):
        assert part in text
    assert "✗ sub/a.jpg  udnie: The image has 3 x 3 pixels. (image_too_small)" in text
    assert f"and 9 more: nst jobs results {JOB.id} --errors" in text


def test_a_failure_is_named_by_its_local_file() -> None:
    error = Failure(code="image_undecodable", message="No.")
    failed = Item(id=0, input="s3://nst/in/caf_.jpg", style="udnie", status=ItemStatus.FAILED, error=error)
    paths = {failed.input: Path("in/caf\udce9.jpg")}
    assert (
        lines_of(render.failures_list(JOB, [failed], paths))[0] == r"✗ in/caf\xe9.jpg  udnie: No. (image_undecodable)"
    )


@pytest.mark.parametrize(
    ("status", "summary"),
    [
        (JobStatus.SUCCEEDED, "✓ 30 images in 10.0 s (3.0 images/s) → out"),
        (JobStatus.PARTIALLY_SUCCEEDED, "! 30 of 40 images in 10.0 s (3.0 images/s) → out"),
        (JobStatus.CANCELLED, "✗ Cancelled after 30 of 40 images in 10.0 s (3.0 images/s) → out"),
        (JobStatus.FAILED, "✗ The job failed: There are no photos. (no_inputs)"),
    ],
)
def test_the_summary_of_a_finished_job_is_one_line(status: JobStatus, summary: str) -> None:
    error = Failure(code="no_inputs", message="There are no photos.") if status is JobStatus.FAILED else None
    assert render.job_summary(JOB.model_copy(update={"status": status, "error": error}), "out").plain == summary


def test_items_fit_into_eighty_columns_and_keep_the_ends_of_their_names() -> None:
    folder = "s3://nst/" + "a-folder/" * 12
    error = Failure(code="image_undecodable", message="No.")
    items = [
        Item(id=7, input=f"{folder}0007.jpg", style="great_wave", status=ItemStatus.FAILED, error=error),
        Item(id=8, input="s3://nst/b.jpg", style="great_wave", status=ItemStatus.SUCCEEDED, width=1600, height=1067),
    ]
    lines = lines_of(render.items_table(JOB, items))
    assert max(map(len, lines)) <= 80
    assert lines[2].split()[1:] == [lines[2].split()[1], "great_wave", "image_undecodable"]
    assert lines[2].split()[1].startswith("…")
    assert lines[2].split()[1].endswith("0007.jpg")
    assert lines[3].endswith("1600 x 1067")


def test_an_item_with_a_warning_has_a_line_for_it() -> None:
    warning = "Only the first of the file's 7 frames is used."
    item = Item(id=8, input="s3://nst/b.gif", style="great_wave", status=ItemStatus.SUCCEEDED, warning=warning)
    assert joined(render.items_table(JOB, [item])).endswith(warning)


def test_a_job_page_shows_the_limits() -> None:
    job = JOB.model_copy(
        update={
            "status": JobStatus.EXPIRED,
            "stop": "deadline",
            "client_id": "spring",
            "priority": "high",
            "max_failures": 1000,
        }
    )
    text = joined(render.job_page(job))
    for part in ("your id spring", "expired (the deadline has passed)", "priority high", "failures 1,000 at most"):
        assert part in text
