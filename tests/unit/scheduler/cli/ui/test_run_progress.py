"""Progress of a training on terminals and elsewhere."""

import io
import re
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from nst_core.client.resources.runs import Photos, Run, RunStatus, Sample
from scheduler.cli.ui.run_progress import training_board
from tests.unit.scheduler.canned_runs import RUN, RUN_ID

URL = f"http://127.0.0.1:8700/v1/runs/{RUN_ID}"
START = RUN.model_copy(
    update={"step": 0, "segments": 0, "losses": {}, "steps_per_s": None, "eta_s": None, "failures": 0, "note": ""}
)
GOING = RUN.model_copy(update={"failures": 0, "note": ""})
SIZES = pytest.mark.parametrize("width", [80, 120])


def pictures(step: int, count: int = 1) -> list[tuple[Sample, str]]:
    names = [f"photo{number}" for number in range(count)]
    return [
        (Sample(id=f"{name}.jpg", name=name, step=step, uri="", href=""), f"{URL}/samples/{name}_{step:08d}.jpg")
        for name in names
    ]


class Watched:
    """What is written when runs are shown one after the other, and how often samples were asked for."""

    def __init__(self, *runs: Run, terminal: bool, width: int = 120, found: Sequence[Any] = ()) -> None:
        self.asked = 0

        def samples(run: Run) -> Sequence[tuple[Sample, str]]:
            self.asked += 1
            return found

        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal, width=width, color_system=None)
        with training_board(console, curve=lambda run: f"{URL}/losses.png", samples=samples) as show:
            for run in runs:
                show(run)
        self.text = file.getvalue()

    def last_frame(self, status: str = "running") -> list[str]:
        """Return the lines that stay on the terminal."""
        frame = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text)
        return [line.rstrip() for line in frame[frame.rindex(f" {status}") :].splitlines() if line.strip()]


@SIZES
def test_a_terminal_shows_bar_numbers_and_addresses(width: int) -> None:
    watched = Watched(START, RUN, terminal=True, width=width, found=[*pictures(750), *pictures(1000, 4)])
    bar, *rows = watched.last_frame()
    assert all(part in bar for part in ("running", "━", "1,234/2,000", "2.31 steps/s, 5:31 left"))
    assert max(len(line) for line in (bar, *rows)) <= width
    text = "".join(row.strip() for row in rows)
    for part in (
        "losses  content 1.343e+05, style 5.531e+04, total 1.896e+05",
        "photos  1,226, 16 held out, 2 skipped",
        "a[1].jpg: The data is not an image.",
        "trouble  1 failed in a row: The worker fell silent. (worker_lost)",
        "note  compiling",
        f"curve  {URL}/losses.png",
        f"step 1,000  {URL}/samples/photo0_00001000.jpg",
        "and 1 more: nst runs samples night -o FOLDER",
    ):
        assert part in text
    assert "step 750" not in text


def test_unknown_values_take_no_line() -> None:
    watched = Watched(START, terminal=True)
    bar, photos, *_ = watched.last_frame()
    assert "0/2,000" in bar
    assert "1,226" in photos
    assert watched.asked == 0


def test_old_problems_are_no_longer_shown() -> None:
    text = "\n".join(Watched(RUN, GOING.model_copy(update={"step": 1235}), terminal=True).last_frame())
    assert "1,235/2,000" in text
    assert "trouble" not in text
    assert "compiling" not in text


def test_the_status_is_the_present_one() -> None:
    evaluating = GOING.model_copy(update={"status": RunStatus.EVALUATING, "step": 2000})
    bar = Watched(GOING, evaluating, terminal=True).last_frame("evaluating")[0]
    assert "2,000/2,000" in bar


@pytest.mark.parametrize(
    ("status", "turns"),
    [("running", True), ("evaluating", True), ("cancelling", True), ("paused", False), ("succeeded", False)],
)
def test_a_spinner_turns_while_the_run_works(status: str, turns: bool) -> None:
    text = Watched(GOING.model_copy(update={"status": RunStatus(status), "step": 2000}), terminal=True).text
    frame = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert (frame[: frame.rindex(f" {status}")][-1] in "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏") == turns


def test_samples_are_asked_for_once_a_segment() -> None:
    steps = [GOING.model_copy(update={"step": step, "segments": step // 10}) for step in (1, 4, 9, 10, 11, 20)]
    assert Watched(START, *steps, terminal=True).asked == 3
    assert Watched(START, *steps, terminal=False).asked == 3


def test_without_a_terminal_each_tenth_and_each_change_is_a_line() -> None:
    few = Photos(count=40, skipped=2, warning="There are only 40 photos.")
    none = Photos(count=40)
    runs = [
        START.model_copy(update={"status": RunStatus.QUEUED, "photos": none}),
        START.model_copy(update={"note": "compiling", "photos": none}),
        *(GOING.model_copy(update={"step": step, "photos": none}) for step in (10, 199, 200, 210)),
        GOING.model_copy(update={"step": 220, "photos": few}),
        GOING.model_copy(update={"step": 220, "photos": few, "failures": 1}),
        GOING.model_copy(update={"step": 220, "photos": few, "status": RunStatus.PAUSED}),
    ]
    losses = "content 1.343e+05, style 5.531e+04, total 1.896e+05"
    numbers = f"{losses}, 2.31 steps/s, 5:31 left"
    assert Watched(*runs, terminal=False).text.splitlines() == [
        f"{RUN_ID} queued: step 0 of 2,000",
        f"{RUN_ID} running: step 0 of 2,000, compiling",
        f"{RUN_ID} running: step 200 of 2,000, {numbers}",
        f"{RUN_ID} warning: There are only 40 photos.",
        f"{RUN_ID} running: step 220 of 2,000, {numbers}, 2 photos skipped",
        f"{RUN_ID} running: step 220 of 2,000, {numbers}, 2 photos skipped, 1 failed in a row",
        f"{RUN_ID} paused: step 220 of 2,000, {losses}, 2 photos skipped",
    ]


def test_without_a_terminal_new_samples_are_printed_once() -> None:
    runs = [GOING.model_copy(update={"segments": segments}) for segments in (1, 2, 3)]
    lines = Watched(*runs, terminal=False, found=[*pictures(250), *pictures(500, 2)]).text.splitlines()
    assert lines[1:] == [f"{RUN_ID} sample at step 500: {URL}/samples/photo{n}_00000500.jpg" for n in (0, 1)]
