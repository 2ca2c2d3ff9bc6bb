"""The losses as data: one line per step, never repeated, even after interruptions."""

from pathlib import Path

import pytest

from nst_core.training.curve import COLUMNS, LAST_STEPS, LossCurve, dump_losses, last_losses, read_losses
from nst_core.training.step_losses import StepLosses


def losses(step: int, *, lap: float = 0.0) -> StepLosses:
    return StepLosses(
        step=step, content=step + 0.125, style=2.5 * step, tv=1e-7, stability=lap, learning_rate=1e-3 / 3, seconds=0.75
    )


def write(path: Path, *steps: StepLosses) -> LossCurve:
    curve = LossCurve(path, step=steps[0].step - 1)
    for each in steps:
        curve.append(each)
    curve.flush()
    return curve


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "losses.csv"


def test_a_curve_is_a_table_with_a_header(path: Path) -> None:
    write(path, losses(1))
    header, line = path.read_text().splitlines()
    assert header == "step,content,style,tv,stability,shift,grid,total,learning_rate,seconds"
    assert line == "1,1.125,2.5,1e-07,0.0,0.0,0.0,3.6250001,0.0003333333333333333,0.7500"


def test_a_curve_without_a_newer_term_is_read(path: Path) -> None:
    path.write_text(
        "step,content,style,tv,stability,shift,total,learning_rate,seconds\n1,2.0,3.0,0.0,0.0,4.0,9.0,0.1,0.5\n"
    )
    assert read_losses(path) == [StepLosses(step=1, content=2.0, style=3.0, tv=0.0, shift=4.0, learning_rate=0.1)]


def test_values_survive_a_round_trip_exactly(path: Path) -> None:
    written = [losses(step) for step in range(1, 6)]
    write(path, *written)
    assert read_losses(path) == written
    assert [each.seconds for each in read_losses(path)] == [0.75] * 5


def test_lines_appear_once_when_they_are_flushed(path: Path) -> None:
    curve = write(path, losses(1))
    curve.append(losses(2))
    assert len(read_losses(path)) == 1
    curve.flush()
    curve.flush()
    assert [each.step for each in read_losses(path)] == [1, 2]


def test_a_resumed_training_replaces_the_steps_after_its_checkpoint(path: Path) -> None:
    write(path, *(losses(step) for step in range(1, 8)))
    write(path, losses(5, lap=1.0), losses(6, lap=1.0))
    assert [(each.step, each.stability) for each in read_losses(path)] == [
        *((step, 0.0) for step in range(1, 5)),
        (5, 1.0),
        (6, 1.0),
    ]
    assert path.read_text().count("step") == 1


def test_a_torn_last_line_is_dropped(path: Path) -> None:
    write(path, losses(1), losses(2))
    whole = path.read_text()
    start = whole.index("2,2.125")
    for end in range(start, whole.rindex(",")):
        path.write_text(whole[:end])
        assert [each.step for each in read_losses(path)] == [1]
    LossCurve(path, step=2).flush()
    assert path.read_text() == whole[:start]


def test_no_file_and_a_foreign_file_have_no_losses(path: Path) -> None:
    assert read_losses(path) == []
    for text in ("", "1,2,3,4\n2,3,4,5\n", ",".join(COLUMNS) + "\none,two\n"):
        path.write_text(text)
        assert read_losses(path) == []
    path.write_bytes(bytes(range(1, 256)))
    assert read_losses(path) == []


def test_last_losses_are_means_over_the_last_steps() -> None:
    mean = 300 - (LAST_STEPS - 1) / 2
    assert last_losses([losses(step, lap=0.5) for step in range(1, 301)]) == {
        "content": pytest.approx(mean + 0.125, rel=1e-3),
        "style": pytest.approx(2.5 * mean, rel=1e-3),
        "tv": 1e-7,
        "stability": 0.5,
        "shift": 0.0,
        "grid": 0.0,
        "total": pytest.approx(3.5 * mean + 0.625, rel=1e-3),
        "mean_of_last_steps": LAST_STEPS,
    }
    assert last_losses([losses(4)])["mean_of_last_steps"] == 1


def test_some_steps_can_be_a_separate_file(path: Path) -> None:
    some = [losses(step) for step in range(5, 8)]
    path.write_bytes(dump_losses(some))
    assert read_losses(path) == some
    write(path.with_name("whole.csv"), *some)
    assert path.read_bytes() == path.with_name("whole.csv").read_bytes()
    assert dump_losses([]).decode().splitlines() == [",".join(COLUMNS)]
