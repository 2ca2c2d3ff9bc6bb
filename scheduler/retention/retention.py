"""Retention: remove what clients have deleted and what is old.

A job loses its rows and scratch objects; its results stay, unless the client deleted them too.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from nst_core.clock import Clock
from nst_core.storage.blobs import BlobStore
from scheduler.access.idempotency import Idempotency
from scheduler.jobs.item_times import ItemTimes
from scheduler.retention.removal import JobRemover, Remover, RunEmptier, RunRemover, UploadRemover
from scheduler.settings import SchedulerSettings
from scheduler.store.database import Database

#: Pause between two looks for what is old.
_PAUSE_S = 60.0
_KINDS: tuple[tuple[type[Remover], Callable[["Lifetimes"], float | None]], ...] = (
    (JobRemover, lambda lifetimes: lifetimes.jobs),
    (RunRemover, lambda lifetimes: lifetimes.runs),
    (RunEmptier, lambda lifetimes: lifetimes.checkpoints),
    (UploadRemover, lambda lifetimes: lifetimes.uploads),
)


@dataclass(frozen=True, kw_only=True)
class Lifetimes:
    """Days after which things are deleted; None: never."""

    #: Since the end of the job. Its results stay.
    jobs: float | None = None
    #: Since the end of the training. Its style stays.
    runs: float | None = None
    #: Checkpoints and samples of a training, since its end.
    checkpoints: float | None = None
    #: Since the last file came, or since the end of the last job or training that names the upload.
    uploads: float | None = None

    @classmethod
    def of(cls, settings: SchedulerSettings) -> "Lifetimes":
        """Return the lifetimes that the settings describe."""
        return cls(
            jobs=settings.retention_days,
            runs=settings.run_retention_days,
            checkpoints=settings.checkpoint_retention_days,
            uploads=settings.upload_retention_days,
        )


class Retention:
    """Deletes what is old or was deleted, a little at a time."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        *,
        clock: Clock,
        lifetimes: Lifetimes,
        idempotency: Idempotency,
        item_times: ItemTimes,
        timer: Clock = time.monotonic,
    ) -> None:
        """`clock` is the time of day, for the age of things; `timer` is a steady clock, for pauses."""
        self._database = database
        self._timer = timer
        self._idempotency = idempotency
        self._item_times = item_times
        self._removers = [
            make(database, blobs, clock=clock, days=days(lifetimes), timer=timer) for make, days in _KINDS
        ]
        self._not_before = timer()

    def tick(self) -> bool:
        """Delete some of each kind; return whether there may be more."""
        if self._timer() < self._not_before:
            return False
        # All of them, so that a lot of one kind does not delay another.
        found = [self._idempotency.prune(), *(remover.tick() for remover in self._removers)]
        if any(found):
            return True
        with self._database.write() as connection:
            self._item_times.tidy(connection)
        self._not_before = self._timer() + _PAUSE_S
        return False
