"""Removal of jobs, runs and uploads with their objects in storage, in slices.

What is removed is hidden first, so nobody sees it half deleted, and a restarted scheduler continues. What
cannot be removed now waits, and everything else continues (see `setbacks`).
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from functools import partial

from nst_core.client.resources.items import ItemStatus
from nst_core.clock import Clock
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.control.setbacks import Setbacks
from scheduler.domain import addresses
from scheduler.domain.addresses import job_key, scratch_key, upload_key
from scheduler.domain.jobs import ERRORS_NAME, RESULTS_NAME, Job
from scheduler.domain.runs import place_key
from scheduler.store import chunks as chunk_rows
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store import runs as run_rows
from scheduler.store import segments as segment_rows
from scheduler.store import uploads as upload_rows
from scheduler.store.database import Database
from scheduler.store.uploads import Upload

log = logging.getLogger(__name__)

DAY_S = 24 * 3600.0
#: Rows to delete in one transaction. Other transactions wait for it.
_ROWS = 1000
#: Objects to delete before other work continues.
_OBJECTS = 2000
_FIRST_RETRY_S, _LONGEST_RETRY_S = 60.0, 3600.0


class Remover(ABC):
    """Removes one kind of resource in slices."""

    def __init__(
        self, database: Database, blobs: BlobStore, *, clock: Clock, days: float | None, timer: Clock = time.monotonic
    ) -> None:
        """Resources are removed after `days`; None: only if a client deleted them. `timer` is a steady clock."""
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._days = days
        self._setbacks = Setbacks[str](
            f"removal ({type(self).__name__})", timer=timer, first_s=_FIRST_RETRY_S, longest_s=_LONGEST_RETRY_S
        )
        #: The last key that was looked at, of places whose sweep spares objects.
        self._passed: dict[BlobUri, str] = {}

    @abstractmethod
    def tick(self) -> bool:
        """Remove a slice of what is due; return whether there may be more."""

    def _before(self) -> float | None:
        return None if self._days is None else self._clock() - self._days * DAY_S

    def _sweep(self, prefix: BlobUri, *, spared: Callable[[Sequence[str]], set[str]] | None = None) -> bool:
        """Delete some of the objects below a prefix; return whether none is left but those that are `spared`.

        `spared` returns which of some addresses stay. It is needed where jobs may write.
        """
        after = self._passed.pop(prefix, "")
        # Each page starts after the last key, because some servers still list removed objects.
        for _ in range(_OBJECTS // 1000):
            keys = self._blobs.list_keys(prefix, after=after)
            if not keys:
                return True
            uris = [str(BlobUri(prefix.bucket, key)) for key in keys]
            self._delete_all(uris, but=spared(uris) if spared else ())
            after = keys[-1]
        if not self._blobs.list_keys(prefix, after=after, limit=1):
            return True
        if spared:
            self._passed[prefix] = after
        return False

    def _delete_all(self, uris: Sequence[str], *, but: Collection[str]) -> None:
        for uri in uris:
            if uri not in but:
                self._blobs.delete(BlobUri.parse(uri))

    def _needed(self, place: BlobUri, without: str, uris: Sequence[str]) -> set[str]:
        """Return which objects at a place are images of jobs, or will be, or their reports: all jobs `without` one."""
        with self._database.read() as connection:
            others = job_rows.jobs_writing_to(connection, str(place), without=without)
            storable = [uri for uri in uris if addresses.storable(uri)]
            images = item_rows.kept_outputs(connection, [id for id, _ in others], storable)
        reports = {prefix + name for _, prefix in others for name in (RESULTS_NAME, ERRORS_NAME)}
        return images | reports.intersection(uris)

    def _place(self, key: str) -> BlobUri:
        return BlobUri(self._blobs.bucket, key)


class JobRemover(Remover):
    """Removes jobs: their rows and scratch objects, and their images if the client wants that."""

    def tick(self) -> bool:
        """Remove a slice of some; return whether there may be more."""
        before = self._before()
        with self._database.read() as connection:
            found = job_rows.prunable_jobs(connection, finished_before=before, without=self._setbacks.waiting())
        return self._setbacks.attempt_each(found, partial(self._remove, before))

    def _remove(self, before: float | None, job_id: str) -> bool:
        """Remove a slice of a job; return False if it was retried since."""
        with self._database.write() as connection:
            job = job_rows.find_job(connection, job_id, lock=True)
            if job is None:
                return False
            pruned, with_results = job_rows.is_pruned(connection, job_id)
            if not pruned:
                if before is None or not job.status.is_terminal or (job.finished_at or before) > before:
                    return False
                job_rows.update_job(connection, job_id, pruned=True, client_id=None)
        if with_results and not self._remove_results(job):
            return True
        if not self._sweep(self._place(scratch_key(job.tenant, job.id))):
            return True
        for delete in (item_rows.delete_items, chunk_rows.delete_chunks):
            while True:
                with self._database.write() as connection:
                    if delete(connection, job.id, limit=_ROWS) < _ROWS:
                        break
        with self._database.write() as connection:
            job_rows.delete_job(connection, job.id)
        log.info("%s was deleted", job.id)
        return True

    def _remove_results(self, job: Job) -> bool:
        """Delete some of a job's images, or else its reports; return whether nothing is left.

        Other jobs may have the same images and reports: those stay. Items are deleted along with their images, so the
        next slice begins after them.
        """
        prefix = BlobUri.parse(job.spec.output.prefix)
        needed = partial(self._needed, prefix, job.id)
        if prefix == self._place(job_key(job.tenant, job.id)):
            return self._sweep(prefix, spared=needed)
        with self._database.read() as connection:
            items = item_rows.list_items(connection, job.id, limit=_ROWS, after=-1)
        made = {item.output: item.bytes for item in items if item.status is ItemStatus.SUCCEEDED}
        # What has another size was written by somebody else. A repeated job writes the same bytes.
        found = [uri for uri, nbytes in made.items() if self._blobs.size(BlobUri.parse(uri)) == nbytes]
        self._delete_all(found, but=needed(found))
        if items:
            with self._database.write() as connection:
                item_rows.delete_items(connection, job.id, limit=len(items))
            return False
        reports = [job.spec.output.prefix + name for name in (RESULTS_NAME, ERRORS_NAME)]
        self._delete_all(reports, but=needed(reports))
        return True


class RunRemover(Remover):
    """Removes trainings: their rows and all objects in their places. The styles that they made stay."""

    def tick(self) -> bool:
        """Remove a slice of some; return whether there may be more."""
        before = self._before()
        with self._database.read() as connection:
            found = run_rows.prunable_runs(connection, finished_before=before, without=self._setbacks.waiting())
        return self._setbacks.attempt_each(found, partial(self._remove, before))

    def _remove(self, before: float | None, run_id: str) -> bool:
        with self._database.write() as connection:
            run = run_rows.lock_run(connection, run_id)
            if run is None:
                return False
            if not run_rows.is_pruned(connection, run_id):
                if before is None or not run.status.is_terminal or (run.finished_at or before) > before:
                    return False
                run_rows.update_run(connection, run_id, pruned=True)
        if not self._sweep(self._place(place_key(run.tenant, run.id))):
            return True
        with self._database.write() as connection:
            run_rows.delete_run(connection, run.id)
        log.info("%s was deleted", run.id)
        return True


class RunEmptier(Remover):
    """Removes the checkpoints and samples of trainings that ended long ago; their losses and sheets stay."""

    def tick(self) -> bool:
        """Remove a slice of some; return whether there may be more."""
        before = self._before()
        if before is None:
            return False
        with self._database.read() as connection:
            found = run_rows.full_runs(connection, finished_before=before, without=self._setbacks.waiting())
        return self._setbacks.attempt_each(found, partial(self._empty, before))

    def _empty(self, before: float, run_id: str) -> bool:
        with self._database.write() as connection:
            run = run_rows.lock_run(connection, run_id)
            if run is None or not run.status.is_terminal or (run.finished_at or before) > before:
                return False
            kept = segment_rows.kept_checkpoints(connection, [run_id])[run_id]
            segment_rows.forget_checkpoints(connection, run_id, [segment.attempt for segment in kept])
            # From now on it cannot be resumed. The tidier removes the objects.
            run_rows.empty_run(connection, run_id)
        return True


class UploadRemover(Remover):
    """Removes uploads that a client has deleted, or that were not used for some time."""

    def tick(self) -> bool:
        """Remove a slice of some; return whether there may be more."""
        before = self._before()
        with self._database.read() as connection:
            found = upload_rows.prunable_uploads(connection, used_before=before, without=self._setbacks.waiting())
        work: Sequence[tuple[str, Callable[[], bool]]] = [
            (upload.id, partial(self._remove, upload, before)) for upload in found
        ]
        done = [self._setbacks.attempt(key, remove) for key, remove in work]
        return any(done)

    def _remove(self, found: Upload, before: float | None) -> bool:
        tenant, id = found.tenant, found.id
        place = self._place(upload_key(tenant, id))
        with self._database.write() as connection:
            upload = upload_rows.find_upload(connection, tenant, id, lock=True)
            if upload is None:
                return False
            if not upload.pruned:
                if before is None or upload.used_at > before:
                    return False
                if upload_rows.is_in_use(connection, tenant, id, place=str(place), since=before):
                    # It counts as used and is checked again later.
                    upload_rows.update_upload(connection, tenant, id, used_at=before + DAY_S)
                    return False
                upload_rows.update_upload(connection, tenant, id, pruned=True)
        # Jobs may have written there, and their results stay.
        if not self._sweep(place, spared=partial(self._needed, place, "")):
            return True
        with self._database.write() as connection:
            upload_rows.delete_upload(connection, tenant, id)
        log.info("%s of %s was deleted", id, tenant)
        return True
