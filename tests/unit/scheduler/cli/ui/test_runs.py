"""How trainings are shown."""

from datetime import UTC, datetime

import pytest

from nst_core.client.resources.runs import Parent, Photos, RunStatus
from scheduler.cli.ui import runs as run_render
from tests.unit.scheduler.canned_runs import RUN, RUN_ID
from tests.unit.scheduler.cli.ui.screen import joined, lines_of

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


SIZES = pytest.mark.parametrize("width", [80, 120])


@SIZES
def test_runs_are_a_line_each_with_complete_ids(width: int) -> None:
    other = RUN.model_copy(update={"status": RunStatus.CANCELLING, "step": 12_345, "steps": 100_000, "name": "[b]"})
    lines = lines_of(run_render.runs_table([RUN, other], now=NOW), width)
    assert lines[2].split() == [RUN_ID, "running", "1,234/2,000", "20", "min", "night"]
    assert lines[3].split() == [RUN_ID, "cancelling", "12,345/100,000", "20", "min", "[b]"]


def test_no_runs_are_a_sentence() -> None:
    assert lines_of(run_render.runs_table([]), 80) == ["There are no trainings yet."]


@SIZES
def test_a_run_page_shows_everything(width: int) -> None:
    run = RUN.model_copy(
        update={
            "warning": "There are only 40 photos; 100 are enough to begin with, the shipped styles took 1,242.",
            "evaluation": {"photos": 16, "content": {"mean": 123456.7}, "remarks": ["There are [dots].", "And more."]},
            "version": "ab" * 32,
            "parent": Parent(run=RUN_ID, step=1000),
            "exact": True,
            "work_s": 671.5,
        }
    )
    text = joined(run_render.run_page(run), width)
    for part in (
        "status running",
        "steps 1,234 of 2,000",
        "standard, stroke 1.5, strength 1, exact",
        "photos 1,226, 16 held out, 2 skipped a[1].jpg: The data is not an image. and 1 more",
        "the shipped styles took 1,242.",
        "losses content 1.343e+05, style 5.531e+04, total 1.896e+05 speed",
        "2.31 steps/s, 5:31 left",
        "13 segments, attempt 14, 1 failed in a row",
        "checkpoints 1,000",
        "config network vgg16, size_px 256, batch_size 4",
        "evaluation photos 16, content.mean 1.235e+05 remarks There are [dots]. And more. version",
        "(not published)",
        f"{RUN_ID} at step 1,000",
        "title: Starry [Night]",
        "took 11:11",
        "The worker fell silent. (worker_lost)",
    ):
        assert part in text


def test_a_new_run_has_a_page() -> None:
    run = RUN.model_copy(
        update={
            "status": RunStatus.QUEUED,
            "losses": None,
            "config": {},
            "started_at": None,
            "error": None,
        }
    )
    text = joined(run_render.run_page(run), 80)
    assert "status queued" in text
    assert "losses" not in text
    assert "took –" in text


def test_a_run_that_waits_shows_no_speed() -> None:
    assert run_render.speed_text(RUN) == "2.31 steps/s, 5:31 left"
    assert run_render.speed_text(RUN.model_copy(update={"status": RunStatus.PAUSED})) == ""
    assert run_render.speed_text(RUN.model_copy(update={"step": 2000, "eta_s": 0.0})) == "2.31 steps/s"
    assert run_render.speed_text(RUN.model_copy(update={"steps_per_s": None, "eta_s": None})) == ""


def test_photos_that_are_all_used_are_a_number() -> None:
    assert str(run_render.photos_text(RUN.model_copy(update={"photos": Photos(count=12)}))) == "12"


@pytest.mark.parametrize(
    ("changes", "summary"),
    [
        (
            {"status": RunStatus.SUCCEEDED, "published": True},
            "✓ night is trained after 2,000 steps in 59:59: version abababababab.",
        ),
        (
            {"status": RunStatus.SUCCEEDED},
            "✓ Version abababababab of night is trained after 2,000 steps in 59:59. To publish it: "
            f"nst runs publish {RUN_ID}",
        ),
        ({"status": RunStatus.PAUSED}, f"! Paused at step 1,234 of 2,000. To continue: nst runs resume {RUN_ID}"),
        ({"status": RunStatus.CANCELLED}, f"✗ Cancelled at step 1,234 of 2,000. To continue: nst runs resume {RUN_ID}"),
        (
            {"status": RunStatus.FAILED},
            "✗ The training failed at step 1,234 of 2,000: The worker fell silent. (worker_lost) "
            f"To continue: nst runs resume {RUN_ID}",
        ),
    ],
)
def test_the_summary_of_a_run_says_how_to_continue(changes: dict[str, object], summary: str) -> None:
    run = RUN.model_copy(
        update={
            "version": "ab" * 32,
            "work_s": 3599.4,
            "finished_at": datetime(2026, 11, 25, 9, 0, tzinfo=UTC),  # it was paused for some days
            **changes,
        }
    )
    assert run_render.run_summary(run).plain == summary
