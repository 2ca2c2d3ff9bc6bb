"""Tests of scheduler.runs.ends."""

from dataclasses import replace

import pytest

from nst_core.client.resources.runs import RunStatus
from scheduler.domain.runs import SegmentState, Stop
from scheduler.runs.ends import MAX_BACKOFF_S, RetryPolicy, at_checkpoint, failed, released
from tests.unit.scheduler.runs.samples import RUN


def test_a_released_run_is_live_no_more() -> None:
    values = released(RUN, now=5.0, status=RunStatus.EVALUATING)
    assert values["live"] is SegmentState.NONE
    assert values["lease_until"] is None
    assert values["status"] is RunStatus.EVALUATING


@pytest.mark.parametrize(
    ("stop", "status", "finished_at"), [(Stop.PAUSE, RunStatus.PAUSED, None), (Stop.CANCEL, RunStatus.CANCELLED, 5.0)]
)
def test_what_a_client_wants_wins(stop: Stop, status: RunStatus, finished_at: float | None) -> None:
    run = replace(RUN, stop=stop)
    ends = [
        released(run, now=5.0, status=RunStatus.EVALUATING),
        failed(run, code="c", message="m", retryable=False, now=5.0, retries=RetryPolicy()),
    ]
    for values in ends:
        assert (values["status"], values["finished_at"], values["stop"]) == (status, finished_at, Stop.NONE)


def test_the_pause_before_a_retry_has_a_longest() -> None:
    run = replace(RUN, failures=500)
    values = failed(run, code="c", message="m", retryable=True, now=5.0, retries=RetryPolicy(max_failures=10**6))
    assert values["not_before"] == 5.0 + MAX_BACKOFF_S
    assert "status" not in values


def test_what_a_worker_says_of_its_failure_fits_its_columns() -> None:
    values = failed(RUN, code="c" * 1000, message="m" * 10**6, retryable=True, now=5.0, retries=RetryPolicy())
    assert len(values["error_code"] or "") == 64
    assert len(values["error_message"] or "") == 2000


def test_lost_steps_are_no_progress() -> None:
    assert at_checkpoint(RUN) == {"step": 40, "losses": {"total": 1.0}, "steps_per_s": 2.0, "note": ""}
    assert at_checkpoint(replace(RUN, progress=None)) is None
