"""Tidy the places of runs: remove checkpoints that are not kept, and what no accepted segment has named.

The last good checkpoint and the present result are never among them, and nothing of an attempt whose end may still be
accepted.
"""

import logging
import time

from nst_core.clock import Clock
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.control.setbacks import Setbacks, of_run
from scheduler.domain.runs import (
    CHECKPOINTS,
    INITIAL,
    LOSSES,
    RESULTS,
    SAMPLES,
    Run,
    SegmentState,
    attempt_of,
    not_kept,
    place_key,
)
from scheduler.store import runs as run_rows
from scheduler.store import segments as segment_rows
from scheduler.store.database import Database

log = logging.getLogger(__name__)

#: The fields of a run whose change may leave objects.
_LEAVES_OBJECTS = ("attempt", "live", "status", "checkpoint", "result", "emptied")
_RETRY_S, _LONGEST_RETRY_S = 30.0, 600.0


class RunTidier:
    """Removes objects that nothing needs."""

    def __init__(self, database: Database, blobs: BlobStore, *, clock: Clock, timer: Clock = time.monotonic) -> None:
        """`timer` is a steady clock, for pauses."""
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._setbacks = Setbacks[str]("tidying", ids=of_run, timer=timer, first_s=_RETRY_S, longest_s=_LONGEST_RETRY_S)

    def tick(self) -> bool:
        """Tidy the places of some runs; return whether there was one."""
        with self._database.read() as connection:
            found = run_rows.untidy_runs(connection, without=self._setbacks.waiting())
        return self._setbacks.attempt_each(found, self._tidy)

    def _tidy(self, run_id: str) -> bool:
        with self._database.write() as connection:
            run = run_rows.lock_run(connection, run_id)
            if run is None:
                return False
            kept = segment_rows.kept_checkpoints(connection, [run.id])[run.id]
            dropped = [each for each in not_kept(kept) if each.checkpoint != run.checkpoint]
            # Delete the rows before the objects: objects that could not be deleted are found later as garbage, by their
            # attempt.
            segment_rows.forget_checkpoints(connection, run.id, [segment.attempt for segment in dropped])
            segments = segment_rows.list_segments(connection, run.id)
        named = {segment.checkpoint.uri for segment in segments if segment.checkpoint}
        named |= {segment.losses for segment in segments if segment.losses}
        named |= {run.checkpoint.uri} if run.checkpoint else set()
        if run.result is not None:
            named |= {run.result["weights"]["uri"], run.result["sheet"]}
        # The losses of outdated attempts are small, and there are few results; their folders are looked through once,
        # at the end. The weights of a result that was replaced are among the styles.
        for folder in (CHECKPOINTS, LOSSES, RESULTS) if run.status.is_terminal else (CHECKPOINTS,):
            self._sweep(run, folder, named)
        if run.emptied:
            self._empty(run)
        with self._database.write() as connection:
            # Unless something has changed since that leaves objects to remove.
            if run_rows.lock_unchanged_run(connection, run, *_LEAVES_OBJECTS):
                run_rows.update_run(connection, run.id, untidy=False)
        return True

    def _empty(self, run: Run) -> None:
        """Remove the samples of a run that cannot be continued, and what it began with if it is a fork.

        Not earlier: an evaluation may need what the run began with, and so does a run without a checkpoint.
        """
        place = place_key(run.tenant, run.id)
        self._blobs.delete(BlobUri(self._blobs.bucket, place + INITIAL))
        prefix = BlobUri(self._blobs.bucket, place + SAMPLES)
        after = ""
        while keys := self._blobs.list_keys(prefix, after=after):
            for key in keys:
                self._blobs.delete(BlobUri(prefix.bucket, key))
            after = keys[-1]

    def _sweep(self, run: Run, folder: str, named: set[str]) -> None:
        """Remove what is not named and is of an attempt that is over."""
        prefix = BlobUri(self._blobs.bucket, place_key(run.tenant, run.id) + folder)
        last_over = run.attempt if run.live is SegmentState.NONE else run.attempt - 1
        after = ""
        while keys := self._blobs.list_keys(prefix, after=after):
            for key in keys:
                uri = BlobUri(prefix.bucket, key)
                attempt = attempt_of(key.removeprefix(prefix.key))
                if str(uri) not in named and attempt is not None and attempt <= last_over:
                    self._blobs.delete(uri)
            after = keys[-1]
