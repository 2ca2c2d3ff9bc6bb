"""What happens to a run when its live segment ends: pure functions from a run to its changes."""

from dataclasses import dataclass
from typing import Any, Unpack

from nst_core.client.resources.runs import RunStatus
from scheduler.domain.runs import Run, SegmentState, Stop
from scheduler.store.runs import RunChanges

#: What changes of a run that has got further or is resumed: its earlier failures no longer count.
FORGIVEN: RunChanges = {"failures": 0, "not_before": 0.0, "error_code": None, "error_message": None}
#: The longest pause before a retry.
MAX_BACKOFF_S = 60.0
_MAX_MESSAGE = 2000


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how soon a failed segment is tried again."""

    #: The run fails after this many failures in a row.
    max_failures: int = 10
    #: Pause before the first retry; doubles with each.
    backoff_s: float = 2.0


def released(run: Run, *, now: float, **changes: Unpack[RunChanges]) -> RunChanges:
    """Return the changes of a run whose live segment ended. If a client asked to stop the run, it stops now."""
    values: RunChanges = {"live": SegmentState.NONE, "lease_until": None, "worker": None, "untidy": True, **changes}
    if run.stop is not Stop.NONE:
        status = run.stop.ends_as
        values |= {"status": status, "stop": Stop.NONE, "finished_at": now if status.is_terminal else None}
    return values


def failed(
    run: Run, *, code: str, message: str, retryable: bool, at_once: bool = False, now: float, retries: RetryPolicy
) -> RunChanges:
    """Return the changes of a run whose segment failed.

    It is retried after a pause, or immediately with `at_once`; after too many failures the run fails.
    """
    failures = run.failures + 1
    pause_s = 0.0 if at_once else min(MAX_BACKOFF_S, retries.backoff_s * 2 ** min(run.failures, 30))
    values: RunChanges = {
        "failures": failures,
        "not_before": now + pause_s,
        "error_code": code[:64],
        "error_message": message[:_MAX_MESSAGE],
        "progress": at_checkpoint(run),
    }
    if not retryable or failures >= retries.max_failures:
        values |= {"status": RunStatus.FAILED, "finished_at": now}
    return released(run, now=now, **values)


def at_checkpoint(run: Run) -> dict[str, Any] | None:
    """Return the progress of a run that has lost the steps since its last checkpoint."""
    return None if run.progress is None else {**run.progress, "step": run.step, "note": ""}
