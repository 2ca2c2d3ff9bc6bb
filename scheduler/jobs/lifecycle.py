"""Changes of a job's life: stopped, paused, resumed, retried.

Call each function in a transaction that has locked the job. It changes the job, its chunks and its items in
that transaction, so that others see all of it or nothing.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import JobStatus, StopReason
from scheduler.domain.codes import INPUT_INCOMPLETE, MAX_FAILURES, REPORTS_FAILED, Failure
from scheduler.domain.errors import ConflictError, NothingToRetryError
from scheduler.domain.jobs import STOPPABLE, Job, Reopening
from scheduler.jobs.inputs import Cursor
from scheduler.store import chunks as chunk_rows
from scheduler.store import events as event_rows
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store.database import Connection
from scheduler.store.jobs import JobChanges

#: The most items that a stop or a retry changes in one transaction, in which others wait for the job.
AT_ONCE = 10_000
#: Errors of a job that a retry removes. After other errors, its input was not read to its end.
_PASSING_ERRORS = (MAX_FAILURES, REPORTS_FAILED)


def stop(connection: Connection, job: Job, reason: StopReason, *, error: Failure | None = None) -> None:
    """Stop a job early: what was not sent is cancelled, and what workers have may still be completed.

    If there are more items than a transaction should change, the planner cancels the others (`continue_stop`).
    Whether a worker has a chunk that was sent is not known here: see `withdrawal`. Nothing happens if the
    job is being stopped already, or has ended.
    """
    if job.status not in STOPPABLE:
        return
    values: JobChanges = {"status": JobStatus.CANCELLING, "stop": reason, "reopening": None}
    if error is not None:
        values |= JobChanges(error_code=error.code, error_message=error.message)
    chunk_rows.end_pending(connection, job.id)
    changes = item_rows.cancel_pending(connection, job.id, limit=AT_ONCE)
    values["unchunked"] = changes[ItemStatus.CANCELLED] == AT_ONCE
    job_rows.move_counts(connection, job.id, changes)
    # After the counts, so that the event has them.
    job_rows.update_job(connection, job.id, **values)
    job_rows.finalize_if_through(connection, job.id)


def continue_stop(connection: Connection, job: Job) -> None:
    """Cancel the next items of a large job that is being stopped."""
    changes = item_rows.cancel_pending(connection, job.id, limit=AT_ONCE)
    job_rows.move_counts(connection, job.id, changes)
    job_rows.update_job(connection, job.id, unchunked=changes[ItemStatus.CANCELLED] == AT_ONCE)
    job_rows.finalize_if_through(connection, job.id)


def drop(connection: Connection, chunk_id: int) -> Counter[ItemStatus]:
    """End a chunk of a job that is being stopped, and cancel its remaining items; return the change of counts."""
    chunk_rows.set_done(connection, chunk_id)
    return item_rows.set_unfinished(connection, chunk_id, ItemStatus.CANCELLED)


def settle(connection: Connection, job: Job, changes: Mapping[ItemStatus, int], *, added: int = 0) -> None:
    """Add to the counts of a locked job; stop it after too many failures, or finalize it if nothing is left.

    `job` has the values from before the changes, except for its status.
    """
    job_rows.move_counts(connection, job.id, changes, added=added)
    if any(changes.values()) and not added:
        event_rows.record_progress(connection, job.id)
    failed = job.counts.failed + changes.get(ItemStatus.FAILED, 0) - job.forgiven
    most = job.spec.max_failures
    if most is not None and failed > most and changes.get(ItemStatus.FAILED, 0) > 0:
        message = f"More than {most:,} images failed, the most that the job allows."
        stop(connection, job, StopReason.MAX_FAILURES, error=Failure(MAX_FAILURES, message))
    job_rows.finalize_if_through(connection, job.id)


def pause(connection: Connection, job: Job) -> None:
    """Pause a job, so that it sends nothing to workers; raise ConflictError if it has ended or is about to."""
    if job.status is JobStatus.PAUSED:
        return
    if job.status not in STOPPABLE:
        raise ConflictError(f"{job.id} cannot be paused: it is {job.status}.")
    job_rows.update_job(connection, job.id, status=JobStatus.PAUSED)


def resume(connection: Connection, job: Job) -> None:
    """Resume a paused job; raise ConflictError if it has ended or is about to."""
    if job.status is JobStatus.PAUSED:
        job_rows.update_job(connection, job.id, status=_going(job))
    elif job.status not in STOPPABLE:
        raise ConflictError(f"{job.id} cannot be resumed: it is {job.status}.")


def retry(
    connection: Connection, job: Job, *, codes: Sequence[str] | None = None, cancelled: bool = False, now: float
) -> int:
    """Retry the failed items of an ended job: all, or those with one of the error codes.

    With `cancelled`, also retry cancelled items, and read the rest of an input that was not read to its end. If
    reading the input ended with an error, it continues in any case. If there are more items than a transaction should
    change, the planner reopens the others (`continue_retry`), before it does anything else with the job; the result
    is their number.
    Items that failed when they were planned stay failed. Raises ConflictError while the job runs, and
    NothingToRetryError if there is no such item.
    """
    if not job.status.is_terminal:
        raise ConflictError(f"{job.id} cannot be retried yet: it is {job.status}.")
    reopening = Reopening(codes=None if codes is None else tuple(codes), cancelled=cancelled)
    changes = item_rows.reopen(connection, job.id, reopening, limit=AT_ONCE)
    cursor = Cursor.load(job.planned_key)
    # The error tells it of jobs from before cursors did.
    is_incomplete = not job.planned or cursor.left or job.error_code == INPUT_INCOMPLETE
    goes_on = cursor.broken or (cancelled and is_incomplete)
    if not changes[ItemStatus.PENDING] and not goes_on:
        raise NothingToRetryError(f"{job.id} has no item that can be tried again.")
    more = changes[ItemStatus.PENDING] == AT_ONCE
    code, message = job.error_code, job.error_message
    if job.error_code in _PASSING_ERRORS or goes_on:
        code, message = None, None
    if is_incomplete and not goes_on:
        code, message = INPUT_INCOMPLETE, "The job was stopped before all of its input was read."
    job_rows.move_counts(connection, job.id, changes)
    job_rows.update_job(
        connection,
        job.id,
        status=JobStatus.PLANNING if goes_on else JobStatus.RUNNING,
        planned=not goes_on,
        planned_key=replace(cursor, broken=False, left=is_incomplete and not goes_on).dump(),
        unchunked=True,
        reopening=vars(reopening) if more else None,
        stop=None,
        finished_at=None,
        retries=job.retries + 1,
        forgiven=job.counts.failed + changes[ItemStatus.FAILED],
        # A passed deadline would end the job again at once.
        deadline=job.deadline if job.deadline is not None and job.deadline > now else None,
        error_code=code,
        error_message=message,
    )
    return item_rows.count_reopenable(connection, job.id, reopening) if more else 0


def continue_retry(connection: Connection, job: Job, reopening: Reopening) -> None:
    """Reopen the next items of a large job that was retried."""
    changes = item_rows.reopen(connection, job.id, reopening, limit=AT_ONCE)
    job_rows.move_counts(connection, job.id, changes)
    forgiven = job.counts.failed + changes[ItemStatus.FAILED]
    more = changes[ItemStatus.PENDING] == AT_ONCE
    job_rows.update_job(connection, job.id, forgiven=forgiven, reopening=vars(reopening) if more else None)


def _going(job: Job) -> JobStatus:
    if job.planned:
        return JobStatus.RUNNING
    return JobStatus.PLANNING if job.planned_inputs else JobStatus.QUEUED
