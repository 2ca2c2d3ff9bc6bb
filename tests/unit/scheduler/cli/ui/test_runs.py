"""What the commands show of trainings and versions, and that it fits onto terminals."""

import io
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from rich.console import Console, RenderableType

from scheduler.cli.ui import runs as run_render
from scheduler.cli.ui import styles as style_render
from scheduler.domain.runs import Parent, RunStatus
from scheduler.resources import Style, StyleVersion
from scheduler.runs.resources import Photos
from tests.unit.scheduler.canned_runs import RUN, RUN_ID

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SIZES = pytest.mark.parametrize("width", [80, 120])
OLD = Style(
    name="night",
    version="ab" * 32,
    card={"title": "Night", "rights": "[free] " * 30, "training": {"steps": 2000, "seed": 0}, "parent": "udnie"},
)
NEW = Style(name="night", version="cd" * 32, card={"title": "Night", "training": {"steps": 3000, "seed": 0}})


def lines_of(renderable: RenderableType, width: int) -> list[str]:
    """Return what is printed onto a terminal, and check that no line is too long for it."""
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(renderable)
    lines = [line.rstrip() for line in console.export_text().splitlines() if line.strip()]
    assert max(map(len, lines)) <= width
    return lines


def joined(renderable: RenderableType, width: int) -> str:
    """Return what is printed, with the lines of folded texts put together."""
    return " ".join(part for line in lines_of(renderable, width) for part in line.split())


@SIZES
def test_runs_are_a_line_each_with_their_ids_whole(width: int) -> None:
    other = replace(RUN, status=RunStatus.CANCELLING, step=12_345, steps=100_000, name="[b]")
    lines = lines_of(run_render.runs_table([RUN, other], now=NOW), width)
    assert lines[2].split() == [RUN_ID, "running", "1,234/2,000", "20", "min", "night"]
    assert lines[3].split() == [RUN_ID, "cancelling", "12,345/100,000", "20", "min", "[b]"]


def test_no_runs_are_said_to_be_none() -> None:
    assert lines_of(run_render.runs_table([]), 80) == ["There are no trainings yet."]


@SIZES
def test_a_run_page_names_all_that_matters(width: int) -> None:
    run = replace(
        RUN,
        warning="There are only 40 photos; 100 are enough to begin with, the shipped styles took 1,242.",
        evaluation={"photos": 16, "content": {"mean": 123456.7}, "remarks": ["There are [dots].", "And more."]},
        version="ab" * 32,
        parent=Parent(run=RUN_ID, step=1000),
        exact=True,
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
        "The worker fell silent. (worker_lost)",
    ):
        assert part in text


def test_a_run_of_which_nothing_is_known_yet_has_a_page_too() -> None:
    run = replace(RUN, status=RunStatus.QUEUED, losses=None, photos=None, config=None, started_at=None, error=None)
    text = joined(run_render.run_page(run), 80)
    assert "status queued" in text
    assert "losses" not in text
    assert "took –" in text


def test_a_run_that_waits_shows_no_speed() -> None:
    assert run_render.speed_text(RUN) == "2.31 steps/s, 5:31 left"
    assert run_render.speed_text(replace(RUN, status=RunStatus.PAUSED)) == ""
    assert run_render.speed_text(replace(RUN, step=2000, eta_s=0.0)) == "2.31 steps/s"
    assert run_render.speed_text(replace(RUN, steps_per_s=None, eta_s=None)) == ""


def test_photos_that_are_all_used_are_a_number() -> None:
    assert str(run_render.photos_text(replace(RUN, photos=Photos(count=12)))) == "12"
    assert run_render.photos_text(replace(RUN, photos=None)) is None


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
def test_the_end_of_a_run_is_summed_up_with_what_can_be_done_then(changes: dict[str, object], summary: str) -> None:
    run = replace(RUN, version="ab" * 32, finished_at="2026-11-22T12:40:00Z", **changes)  # type: ignore[arg-type]
    assert run_render.run_summary(run).plain == summary


@SIZES
def test_versions_are_a_line_each_and_the_current_one_is_marked(width: int) -> None:
    made = StyleVersion(
        name="night", version="ab" * 32, card=OLD.card, current=True, run=RUN_ID, created_at="2026-11-22T01:00:00Z"
    )
    own = replace(made, version="ef" * 32, current=False, published=False)
    brought = StyleVersion(name="night", version="cd" * 32, card={"origin": "lengstrom/fast-style-transfer"})
    lines = lines_of(style_render.versions_table([made, own, brought], now=NOW), width)
    assert lines[2].split() == ["abababababab", "current", "2,000", "11", "h", "ago", RUN_ID]
    assert lines[3].split() == ["efefefefefef", "private", "2,000", "11", "h", "ago", RUN_ID]
    assert lines[4].split() == ["cdcdcdcdcdcd", "–", "–", "lengstrom/fast-style-transfer"]


@SIZES
def test_cards_are_shown_side_by_side_where_they_differ(width: int) -> None:
    lines = lines_of(style_render.diff_table(OLD, NEW), width)
    assert lines[0].split() == ["night@abababababab", "night@cdcdcdcdcdcd"]
    assert [line.split() for line in lines if "training" in line or "parent" in line] == [
        ["training.steps", "2000", "3000"],
        ["parent", "udnie", "–"],
    ]
    assert lines[-1] == "2 fields are equal (--all shows them)."
    assert not any("title" in line for line in lines)


def test_all_fields_of_cards_are_shown_where_that_is_wanted() -> None:
    lines = lines_of(style_render.diff_table(OLD, NEW, all_fields=True), 80)
    assert ["title", "Night", "Night"] in [line.split() for line in lines]
    assert not any("equal" in line for line in lines)


def test_equal_cards_are_said_to_be_equal() -> None:
    assert lines_of(style_render.diff_table(OLD, replace(OLD, version="cd" * 32)), 80) == ["The cards are equal."]
