"""A job on a cluster during faults: moments to wait for, and measurements from outside."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
from sqlalchemy.exc import SQLAlchemyError

from nst_core.client.resources.jobs import Job, JobStatus
from tests.faults.cluster import Cluster
from tests.faults.observer import ChunkState, JobState

_POLL_S = 0.1
#: The time until an event of a worker is in the database.
_HEARD_S = 1.0
_ENDED = ("finalizing", "succeeded", "partially_succeeded", "failed", "cancelled")


@dataclass(kw_only=True)
class Mark:
    """A moment after which work should recover, and how long the recovery took."""

    what: str
    at: float
    done: int
    #: The chunks in flight at that moment, in Redis or held by workers.
    chunks: dict[int, ChunkState]
    recovery_s: float | None = None


@dataclass(kw_only=True)
class Sampled:
    """The answers of the API during a job."""

    reads: int = 0
    #: The number of 503 answers with Retry-After.
    unavailable: int = 0
    #: Requests without an answer, because nothing listened or the connection broke.
    unreachable: int = 0
    slowest_s: float = 0.0
    #: Answers that the API must never give.
    wrong: list[str] = field(default_factory=list)


class Sampler:
    """Asks the API for a job all the time, and less often whether it is ready and accepts changes."""

    def __init__(self, cluster: Cluster, job_id: str, finished_job: str) -> None:
        """`finished_job` can be cancelled without effect: a database write that changes nothing."""
        self.seen = Sampled()
        self._http = httpx.Client(base_url=cluster.url, headers=cluster.headers, timeout=30, trust_env=False)
        self._job_id = job_id
        self._finished_job = finished_job
        self._done = 0
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(self._read_job, _POLL_S), daemon=True),
            threading.Thread(target=self._repeat, args=(self._probe, 1.0), daemon=True),
        ]

    def __enter__(self) -> "Sampler":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._http.close()

    def _repeat(self, call: Callable[[], None], pause_s: float) -> None:
        while not self._stop.wait(pause_s):
            call()

    def _ask(self, method: str, path: str) -> httpx.Response | None:
        asked = time.monotonic()
        try:
            response = self._http.request(method, path)
        except httpx.TransportError as error:
            if isinstance(error, httpx.TimeoutException):
                self.seen.wrong.append(f"{method} {path.rpartition('/')[2]} hung")
            self.seen.unreachable += 1
            return None
        finally:
            self.seen.slowest_s = max(self.seen.slowest_s, time.monotonic() - asked)
        if response.is_success:
            return response
        if response.status_code == 503 and ("retry-after" in response.headers or path == "/readyz"):
            self.seen.unavailable += 1
        else:
            self.seen.wrong.append(f"{method} {path.rpartition('/')[2]}: {response.status_code} {response.text[:100]}")
        return None

    def _read_job(self) -> None:
        response = self._ask("GET", f"/v1/jobs/{self._job_id}")
        if response is None:
            return
        self.seen.reads += 1
        counts = response.json()["counts"]
        parts = {name: counts[name] for name in ("pending", "running", "succeeded", "failed", "cancelled")}
        if sum(parts.values()) != counts["total"]:
            self.seen.wrong.append(f"the counts do not sum up: {counts}")
        done = parts["succeeded"] + parts["failed"] + parts["cancelled"]
        if done < self._done:
            self.seen.wrong.append(f"items came undone: {self._done} were done, now {done}")
        self._done = done

    def _probe(self) -> None:
        self._ask("GET", "/readyz")
        self._ask("POST", f"/v1/jobs/{self._finished_job}/cancel")


class Scene:
    """The information that a fault has, and the moments that it can wait for."""

    def __init__(self, cluster: Cluster, job: Job, *, items: int, freeze_s: float, rng: random.Random) -> None:
        """`freeze_s` is how long the longest interruptions last."""
        self.cluster = cluster
        self.job = job
        self.items = items
        self.freeze_s = freeze_s
        self.rng = rng
        self.marks: list[Mark] = []
        #: How often each thing happened, and its longest time.
        self.counted = Counter[str]()
        self.longest_s = dict[str, float]()
        #: Problems: things that should not have happened.
        self.problems: list[str] = []
        #: How often a fault was injected.
        self.faults = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="recovery", daemon=True)
        self._thread.start()

    @property
    def going(self) -> bool:
        """Whether items are left to do."""
        state = self.state()
        return state is None or state.status not in _ENDED

    def state(self) -> JobState | None:
        """Return the state of the job, or None while the database is down."""
        try:
            return self.cluster.observer.job(self.job.id)
        except SQLAlchemyError:
            return None

    def at(self, share: float) -> bool:
        """Wait until a share of the items is done. Return False if the job ends before."""
        while self.going:
            state = self.state()
            if state is not None and state.total >= self.items and state.done >= share * self.items:
                return True
            time.sleep(0.02)
        return False

    def wait(self, *, timeout_s: float) -> None:
        """Return when the job has ended, or after this time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            state = self.state()
            if state is not None and JobStatus(state.status).is_terminal:
                return
            time.sleep(0.1)

    def moments(self, count: int, *, latest: float = 0.8) -> list[float]:
        """Return random shares in order."""
        return sorted(self.rng.uniform(0.05, latest) for _ in range(count))

    def busy_worker(self) -> str | None:
        """Wait until the database says that a worker has chunks, and return its name; None if the job ends before."""
        while self.going:
            for name in self.rng.sample(self.cluster.workers, k=len(self.cluster.workers)):
                pid = self.cluster.pid(name)
                with suppress(SQLAlchemyError):
                    if pid and self.cluster.observer.held_by(self.job.id, pid):
                        return name
            time.sleep(0.01)
        return None

    def catch_worker(self) -> str | None:
        """Stop a worker that has chunks, and return its name; None if the job ends before.

        The database is a little behind. It is certain only about a stopped worker, after the worker's earlier events
        have been read.
        """
        while (name := self.busy_worker()) is not None:
            pid = self.cluster.pid(name)
            self.cluster.signal(name, signal.SIGSTOP)
            time.sleep(_HEARD_S)
            with suppress(SQLAlchemyError):
                if pid and self.cluster.observer.held_by(self.job.id, pid):
                    return name
            self.cluster.signal(name, signal.SIGCONT)
        return None

    def mark(self, what: str) -> None:
        """Start to measure the time until all work in flight continues or has gone to other workers."""
        while self.going:
            try:
                chunks = self.cluster.observer.in_flight(self.job.id)
                done = self.cluster.observer.job(self.job.id).done
            except SQLAlchemyError:
                time.sleep(0.05)
                continue
            self.marks.append(Mark(what=what, at=time.monotonic(), done=done, chunks=chunks))
            return

    def close(self) -> None:
        """Stop measuring. Call this when the job has ended."""
        self._closed.set()
        self._thread.join()
        # The job may have ended since the last look.
        self._look()

    def _watch(self) -> None:
        while not self._closed.wait(_POLL_S):
            self._look()

    def _look(self) -> None:
        for mark in [mark for mark in self.marks if mark.recovery_s is None]:
            with suppress(SQLAlchemyError):
                self._check(mark)

    def _check(self, mark: Mark) -> None:
        now = self.cluster.observer.chunks(mark.chunks)
        left = all(_moved(before, now[id]) for id, before in mark.chunks.items())
        state = self.cluster.observer.job(self.job.id)
        if (left and state.done > mark.done) or JobStatus(state.status).is_terminal:
            mark.recovery_s = time.monotonic() - mark.at


def _moved(before: ChunkState, now: ChunkState) -> bool:
    """Return whether a chunk is done, was started, or was sent again."""
    return (
        now.status == "done"
        or now.attempt > before.attempt
        or (before.status, now.status)
        == (
            "dispatched",
            "running",
        )
    )
