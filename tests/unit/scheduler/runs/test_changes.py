"""Tests of scheduler.runs.changes."""

from dataclasses import replace

import pytest

from nst_core.client.resources.runs import RunStatus
from nst_core.protocol.segments import Phase
from scheduler.domain.errors import ConflictError, RequestInvalidError
from scheduler.domain.runs import Run, SegmentState, Stop
from scheduler.runs import changes
from tests.unit.scheduler.runs.samples import RUN

WAITING = replace(RUN, live=SegmentState.NONE, status=RunStatus.QUEUED)
ENDED = replace(RUN, live=SegmentState.NONE, status=RunStatus.CANCELLED)


def test_a_run_without_a_live_segment_is_paused_at_once() -> None:
    assert changes.pause(WAITING) == {"status": RunStatus.PAUSED}


def test_a_live_segment_ends_first() -> None:
    assert changes.pause(RUN) == {"status": RunStatus.PAUSING, "stop": Stop.PAUSE}
    assert changes.cancel(RUN, now=5.0) == {"status": RunStatus.CANCELLING, "stop": Stop.CANCEL}


def test_a_run_without_a_live_segment_is_cancelled_at_once() -> None:
    values = changes.cancel(WAITING, now=5.0)
    assert values == {"status": RunStatus.CANCELLED, "finished_at": 5.0, "untidy": True}


@pytest.mark.parametrize("status", [RunStatus.PAUSING, RunStatus.PAUSED])
def test_pausing_twice_changes_nothing(status: RunStatus) -> None:
    assert changes.pause(replace(RUN, status=status)) == {}


@pytest.mark.parametrize("status", [RunStatus.CANCELLING, RunStatus.CANCELLED, RunStatus.SUCCEEDED])
def test_cancelling_twice_changes_nothing(status: RunStatus) -> None:
    assert changes.cancel(replace(RUN, status=status), now=5.0) == {}


def test_an_ended_run_cannot_be_paused() -> None:
    with pytest.raises(ConflictError):
        changes.pause(ENDED)


@pytest.mark.parametrize("status", [RunStatus.PAUSED, RunStatus.FAILED, RunStatus.CANCELLED])
def test_a_run_is_resumed_from_its_checkpoint(status: RunStatus) -> None:
    values = changes.resume(replace(ENDED, status=status, failures=3, error_code="c"))
    assert (values["status"], values["failures"], values["error_code"]) == (RunStatus.QUEUED, 0, None)


@pytest.mark.parametrize(
    ("started_at", "phase", "status"),
    [
        (None, Phase.TRAIN, RunStatus.QUEUED),
        (1.0, Phase.TRAIN, RunStatus.RUNNING),
        (1.0, Phase.EVALUATE, RunStatus.EVALUATING),
    ],
)
def test_a_pause_that_waits_for_its_segment_is_taken_back(
    started_at: float | None, phase: Phase, status: RunStatus
) -> None:
    run = replace(RUN, status=RunStatus.PAUSING, stop=Stop.PAUSE, started_at=started_at, phase=phase)
    assert changes.resume(run) == {"status": status, "stop": Stop.NONE}


@pytest.mark.parametrize("change", [changes.resume, lambda run: changes.extend(run, 200)])
def test_a_run_without_its_files_cannot_go_on(change: object) -> None:
    assert callable(change)
    with pytest.raises(ConflictError, match="checkpoints were deleted"):
        change(replace(ENDED, emptied=True))


def test_an_extended_run_has_more_steps_in_all_its_configs() -> None:
    values = changes.extend(replace(RUN, config={"steps": 100}), 300)
    assert values["steps"] == 300
    assert values["spec"].config["steps"] == 300
    assert values["config"] == {"steps": 300}
    assert "status" not in values


def test_an_ended_run_is_extended_and_goes_on() -> None:
    assert changes.extend(ENDED, 300)["status"] is RunStatus.QUEUED


def test_a_run_that_goes_on_keeps_the_result_of_its_version_as_an_outdated_one() -> None:
    result = {"sheet": "s3://nst/sheet.jpg"}
    for change in (changes.resume, lambda run: changes.extend(run, 300)):
        before = replace(ENDED, result=result, version="ab" * 32)
        after = replace(before, result=change(before)["result"])
        assert (before.is_through, after.is_through) == (True, False)
        assert after.result == {"sheet": "s3://nst/sheet.jpg", "outdated": True}
        assert change(replace(before, version=None))["result"] is None, "it never became a version"


@pytest.mark.parametrize("steps", [99, 100])
def test_an_extension_has_more_steps_than_before(steps: int) -> None:
    with pytest.raises(RequestInvalidError) as caught:
        changes.extend(ENDED, steps)
    assert caught.value.pointer == "/steps"


@pytest.mark.parametrize(
    "run",
    [
        replace(RUN, status=RunStatus.PAUSING),
        replace(RUN, status=RunStatus.CANCELLING),
        replace(RUN, status=RunStatus.EVALUATING, phase=Phase.EVALUATE),
        replace(ENDED, checkpoint=None),
    ],
)
def test_a_run_that_is_being_stopped_or_evaluated_cannot_be_extended(run: Run) -> None:
    with pytest.raises(ConflictError):
        changes.extend(run, 300)
