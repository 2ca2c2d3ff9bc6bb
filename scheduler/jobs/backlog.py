"""How much work waits for the workers of each method: images, and seconds, for monitoring and autoscaling."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from nst_core.client.resources.jobs import JobStatus
from nst_core.client.resources.runs import RunStatus
from nst_core.clock import Clock
from scheduler.control.metrics import TRAIN
from scheduler.jobs.item_times import ItemTimes, pace, passes
from scheduler.jobs.methods import all_methods
from scheduler.store import backlog as rows
from scheduler.store import jobs as job_rows
from scheduler.store.backlog import UnfinishedJob, UnfinishedRun
from scheduler.store.database import Connection
from scheduler.store.rates import Pace

#: Statuses of jobs and runs in which nothing has begun yet.
_WAITING = frozenset({JobStatus.QUEUED, JobStatus.PLANNING, JobStatus.RUNNING, RunStatus.QUEUED})


@dataclass(kw_only=True)
class Queue:
    """The work of one method that has not ended: images, or trainings."""

    queued: int = 0
    #: In chunks, or segments, that a worker has begun.
    running: int = 0
    #: Of paused jobs; they wait for a client and not for a worker.
    paused: int = 0
    #: The time that one worker needs for what is queued and running.
    work_s: float = 0.0
    #: How long ago the oldest job or training that has not begun was submitted; 0 if there is none.
    oldest_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """All work that has not ended."""

    #: By method, with trainings as a further one; all methods are there.
    queues: Mapping[str, Queue]
    #: Jobs that have not ended, by method and status.
    jobs: Counter[tuple[str, JobStatus]]


class BacklogReader:
    """Reads the backlog from the database. Use it from one thread at a time."""

    def __init__(self, item_times: ItemTimes, *, clock: Clock, segment_s: float) -> None:
        """`segment_s` is how long a segment of a training takes."""
        self._item_times = item_times
        self._clock = clock
        self._segment_s = segment_s
        #: The pace and the version of each style of a job, and its passes, which never change.
        self._known: dict[str, tuple[tuple[tuple[Pace, str], ...], int]] = {}

    def read(self, connection: Connection) -> Backlog:
        """Return the backlog."""
        queues = {method: Queue() for method in (*all_methods(), TRAIN)}
        jobs = rows.unfinished_jobs(connection)
        # A method of another package may have been removed while it had jobs.
        for job in (each for each in jobs if each.method in queues):
            self._add_job(queues[job.method], job)
        for method, seconds in self._job_seconds(connection, jobs):
            queues[method].work_s += seconds
        runs = rows.unfinished_runs(connection)
        step_s = rows.mean_step_s(connection) if runs else None
        for run in runs:
            self._add_run(queues[TRAIN], run, step_s or 0.0)
        return Backlog(queues=queues, jobs=Counter((job.method, job.status) for job in jobs))

    def _add_job(self, queue: Queue, job: UnfinishedJob) -> None:
        queue.running += job.running
        if job.status is JobStatus.PAUSED:
            queue.paused += job.pending
        else:
            queue.queued += job.pending
            self._note_age(queue, job)

    def _add_run(self, queue: Queue, run: UnfinishedRun, mean_step_s: float) -> None:
        if run.status is RunStatus.PAUSED:
            queue.paused += 1
            return
        if run.status is RunStatus.QUEUED:
            queue.queued += 1
        else:
            queue.running += 1
        step_s = mean_step_s if run.step_s is None else run.step_s
        # A training that has all its steps is measured by another segment.
        queue.work_s += max(self._segment_s, (run.steps - run.step) * step_s)
        self._note_age(queue, run)

    def _note_age(self, queue: Queue, work: UnfinishedJob | UnfinishedRun) -> None:
        if work.status in _WAITING and work.started_at is None:
            queue.oldest_s = max(queue.oldest_s, self._clock() - work.created_at)

    def _job_seconds(self, connection: Connection, jobs: Iterable[UnfinishedJob]) -> Iterable[tuple[str, float]]:
        """Yield the method of each job with work, and the seconds of its work.

        Each photo gets all styles of its job, so the mean over the styles is the time of an image.
        """
        items = {job.id: job.running + (0 if job.status is JobStatus.PAUSED else job.pending) for job in jobs}
        working = [job for job in jobs if items[job.id] and job.method in all_methods()]
        self._know(connection, [job.id for job in working])
        own, means = {}, defaultdict(list)
        for time in rows.mean_times(connection) if working else ():
            own[time.pace, time.version] = time.mean_ms
            means[time.pace].append(time)
        of_pace = {pace: fmean([t.mean_ms for t in times], [t.samples for t in times]) for pace, times in means.items()}
        for job in working:
            if job.id not in self._known:
                continue  # it ended and was deleted since the query of the jobs
            styles, count = self._known[job.id]
            first_guess_ms = self._item_times.guess_ms(job.method)
            mean_ms = fmean(own.get(style, of_pace.get(style[0], first_guess_ms)) for style in styles)
            yield job.method, items[job.id] * mean_ms * count / 1000

    def _know(self, connection: Connection, ids: list[str]) -> None:
        specs = job_rows.find_specs(connection, [id for id in ids if id not in self._known])
        new = {
            id: (tuple((pace(spec, style), style.version) for style in spec.styles), passes(spec))
            for id, spec in specs.items()
        }
        known = self._known | new
        self._known = {id: known[id] for id in ids if id in known}
