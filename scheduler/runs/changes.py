"""What clients can change of a run: pure functions that return what changes, which is nothing if it is so already.

Each raises ConflictError if the run's state does not allow it.
"""

from dataclasses import replace

from nst_core.client.resources.runs import RunStatus
from nst_core.errors import ConfigError
from nst_core.protocol.segments import Phase
from nst_core.training.config import TrainConfig
from scheduler.domain.errors import ConflictError, RequestInvalidError
from scheduler.domain.runs import OUTDATED, Run, SegmentState, Stop
from scheduler.runs.ends import FORGIVEN
from scheduler.store.runs import RunChanges

_GOING_ON = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.EVALUATING)


def pause(run: Run) -> RunChanges:
    """Pause a run: at once, or when the live segment has ended."""
    if run.status in (RunStatus.PAUSING, RunStatus.PAUSED):
        return {}
    _require(run.status in _GOING_ON, run, "be paused")
    _require_unpublished(run, "be paused")
    if run.live is SegmentState.NONE:
        return {"status": RunStatus.PAUSED}
    return {"status": RunStatus.PAUSING, "stop": Stop.PAUSE}


def cancel(run: Run, *, now: float) -> RunChanges:
    """Cancel a run: at once, or when the live segment has ended. Its last checkpoint is kept."""
    if run.status.is_terminal or run.status is RunStatus.CANCELLING:
        return {}
    _require_unpublished(run, "be cancelled")
    if run.live is SegmentState.NONE:
        return {"status": RunStatus.CANCELLED, "finished_at": now, "untidy": True}
    return {"status": RunStatus.CANCELLING, "stop": Stop.CANCEL}


def resume(run: Run) -> RunChanges:
    """Resume a run from its last checkpoint."""
    if run.status in _GOING_ON:
        return {}
    if run.status is RunStatus.PAUSING:
        # The live segment may end early because of the pause; the next one continues.
        begun = RunStatus.QUEUED if run.started_at is None else RunStatus.RUNNING
        return {"status": RunStatus.EVALUATING if run.phase is Phase.EVALUATE else begun, "stop": Stop.NONE}
    _require(run.status in (RunStatus.PAUSED, RunStatus.FAILED, RunStatus.CANCELLED), run, "go on")
    require_files(run)
    return _anew(run)


def extend(run: Run, steps: int) -> RunChanges:
    """Give a run more steps, also if it has ended."""
    if steps == run.steps and run.status in _GOING_ON:
        return {}
    _require(run.live is SegmentState.NONE or run.phase is not Phase.EVALUATE, run, "be extended")
    busy = (RunStatus.EVALUATING, RunStatus.PAUSING, RunStatus.CANCELLING)
    _require(run.status not in busy, run, "be extended")
    require_files(run)
    if run.status.is_terminal and run.checkpoint is None:
        raise ConflictError(f"{run.id} has no checkpoint to resume from.")
    if steps <= run.steps:
        raise RequestInvalidError(f"{run.id} has {run.steps:,} steps; give more.", pointer="/steps")
    try:
        config = TrainConfig.from_dict({**run.spec.config, "steps": steps}).to_dict()
    except ConfigError as error:
        raise RequestInvalidError(error.message, pointer="/steps") from error
    values: RunChanges = {
        "steps": steps,
        "spec": replace(run.spec, config=config),
        "config": None if run.config is None else {**run.config, "steps": steps},
    }
    return values if run.status in _GOING_ON else values | _anew(run)


def _anew(run: Run) -> RunChanges:
    """Return what changes of a run that is resumed from its last checkpoint.

    The result that has become a version stays, with its sheet, until there is a new one: perhaps there never is.
    """
    before = None if run.result is None or run.version is None else {**run.result, OUTDATED: True}
    return {"status": RunStatus.QUEUED, "finished_at": None, "result": before, **FORGIVEN}


def require_files(run: Run) -> None:
    """Raise ConflictError if a run has none of its files any more."""
    if run.emptied:
        raise ConflictError(f"{run.id} cannot be continued: it ended long ago, and its checkpoints were deleted.")


def _require_unpublished(run: Run, what: str) -> None:
    """Raise ConflictError while the result of an extension takes the place of that of the published version."""
    if run.is_through and run.version is not None and not run.status.is_terminal:
        raise ConflictError(f"{run.id} cannot {what}: its new result is being published.")


def _require(good: bool, run: Run, what: str) -> None:
    if not good:
        raise ConflictError(f"{run.id} cannot {what}: it is {run.status}.")
