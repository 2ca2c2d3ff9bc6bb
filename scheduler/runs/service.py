"""The operations of runs, independent of HTTP: submit, look up, pause, resume, extend, fork, publish."""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from nst_core.client.resources.runs import ForkRequest, RunStatus, TrainRequest
from nst_core.clock import Clock
from nst_core.errors import BlobError, BlobUnavailableError
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.system.logs import about
from scheduler.access.idempotency import Accepted, Claim, Idempotency, fingerprint, looked_up
from scheduler.access.limits import check_new_run
from scheduler.access.tenants import Tenants
from scheduler.domain.errors import ConflictError, NotFoundError, UnfinishedError
from scheduler.domain.runs import Run, RunSpec, Segment
from scheduler.runs import changes
from scheduler.runs.cards import about_of
from scheduler.runs.files import RunFiles
from scheduler.runs.forks import check_fork, check_painting, choose, copy_checkpoint, copy_painting, fork_spec
from scheduler.runs.paintings import Painting
from scheduler.runs.requests import RunResolver
from scheduler.store import runs as run_rows
from scheduler.store import segments as segment_rows
from scheduler.store import styles as access
from scheduler.store.database import Database, retried
from scheduler.store.errors import DatabaseUnavailableError
from scheduler.store.runs import RunChanges
from scheduler.styles.ownership import own_style
from scheduler.styles.pins import find_version, to_publish

log = logging.getLogger(__name__)

#: Of a run, in its view. Runs keep one each 1,000 steps.
SHOWN_CHECKPOINTS = 100


@dataclass(frozen=True, kw_only=True)
class RunDetails:
    """A run, and what other tables know of it."""

    run: Run
    #: Segments whose end was accepted.
    segments: int
    #: Those whose checkpoint is in storage, in order: the newest ones.
    kept: list[Segment]
    #: The style's present version is the one that the run has made.
    published: bool


class RunService:
    """The operations of runs. Every look-up is limited to the tenant that asks."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        resolver: RunResolver,
        *,
        clock: Clock,
        tenants: Tenants,
        idempotency: Idempotency,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        """`wake` is called when there is work for the control loops."""
        self._database = database
        self._blobs = blobs
        self._resolver = resolver
        self._clock = clock
        self._tenants = tenants
        self._wake = wake
        self._idempotency = idempotency
        self.files = RunFiles(database, blobs)

    @property
    def has_own_photos(self) -> bool:
        """Whether there are photos for trainings that name none."""
        return self._resolver.has_own_photos

    def submit(
        self,
        tenant: str,
        request: TrainRequest,
        *,
        painting: Painting | None = None,
        idempotency_key: str | None = None,
    ) -> Accepted[RunDetails]:
        """Accept a run and return it, and whether it is new. A given painting replaces the one the request names.

        The same Idempotency-Key with the same request returns the first run; see `Idempotency.once` and `looked_up`
        for what they raise.
        Raises RequestInvalidError if the request cannot be done, TooLargeError for the painting, and
        StyleExistsError if the style's name comes with nst.
        """
        return self._accept(
            tenant,
            lambda run_id: (request.name, self._resolver.resolve(tenant, run_id, request, painting)),
            operation="run",
            idempotency_key=idempotency_key,
            fingerprint=fingerprint(request, "" if painting is None else painting.sha256),
        )

    def fork(
        self, tenant: str, run_id: str, request: ForkRequest, *, idempotency_key: str | None = None
    ) -> Accepted[RunDetails]:
        """Begin a new run with a checkpoint of another; return it, and whether it is new.

        Raises what `submit` does, and ConflictError if the other run has no checkpoint, or no photos any more.
        """

        # The parent is looked up here, not before: a repeated request gets its fork even if the parent was deleted.
        def resolve(fork_id: str) -> tuple[str, RunSpec]:
            parent = self.get(tenant, run_id).run
            name = request.name or parent.name
            self._resolver.check_name(tenant, name)
            with self._database.read() as connection:
                kept = segment_rows.kept_checkpoints(connection, [parent.id])[parent.id]
                said = about_of(connection, parent)
            source = choose(parent, kept, request.step)
            assert source.checkpoint is not None  # of those that are kept
            # After that: a run whose config could never be used has no checkpoint.
            check_fork(parent, request)
            check_painting(self._blobs, parent, request)
            self._resolver.check_photos(parent)
            place = self._resolver.place(tenant, fork_id)
            initial = copy_checkpoint(self._blobs, source.checkpoint, place)
            painting = copy_painting(self._blobs, parent, place)
            return name, fork_spec(parent, source, request, painting=painting, initial=initial, about=said)

        hash = fingerprint(request, run_id)
        return self._accept(tenant, resolve, operation="fork", idempotency_key=idempotency_key, fingerprint=hash)

    def _accept(
        self,
        tenant: str,
        resolve: Callable[[str], tuple[str, RunSpec]],
        *,
        operation: str,
        idempotency_key: str | None,
        fingerprint: str,
    ) -> Accepted[RunDetails]:
        def make(claim: Claim) -> str:
            run_id = f"run_{int(self._clock() * 1000):012x}{secrets.token_hex(6)}"
            limits = self._tenants.limits(tenant)
            with self._database.write() as connection:
                # Before the painting is stored: a refused run must not leave a file.
                check_new_run(connection, tenant, limits=limits)
            try:
                # Its files come last: an error of the database in it leaves none.
                name, spec = resolve(run_id)
                with self._database.write() as connection:
                    check_new_run(connection, tenant, limits=limits)
                    run_rows.insert_run(
                        connection,
                        id=run_id,
                        tenant=tenant,
                        name=name,
                        spec=spec,
                        fingerprint=fingerprint,
                        now=self._clock(),
                    )
                    claim.complete(connection, run_id)
            except DatabaseUnavailableError:
                raise  # perhaps the run was added, and only the answer is missing
            except BlobUnavailableError:
                # The client has waited for the storage long enough. What is there already is a file or two.
                log.warning("The storage failed while %s was added: its place may have files.", run_id)
                raise
            except Exception:
                self._clear_place(tenant, run_id)
                raise
            with about(run_id=run_id):
                log.info("%s was accepted: the training of %s", run_id, name)
            return run_id

        accepted = self._idempotency.once(
            tenant, idempotency_key, operation=operation, fingerprint=fingerprint, make=make
        )
        if accepted.is_new:
            self._wake()
        return looked_up(accepted, lambda run_id: self.get(tenant, run_id))

    def _clear_place(self, tenant: str, run_id: str) -> None:
        """Remove the files of a run that was not added: no remover looks at the place of a run without a row."""
        place = self._resolver.place(tenant, run_id)
        try:
            for key in self._blobs.list_keys(place):
                self._blobs.delete(BlobUri(place.bucket, key))
        except BlobError as error:
            log.warning("The files of %s, which was refused, cannot be removed: %s", run_id, error.message)

    def get(self, tenant: str, run_id: str) -> RunDetails:
        """Return a run; raise NotFoundError if the tenant has none of that id."""
        with self._database.read() as connection:
            found = run_rows.find_run(connection, run_id, tenant=tenant)
        if found is None:
            raise NotFoundError(f"There is no run {run_id}.")
        return self._details([found])[0]

    def all(
        self,
        tenant: str,
        *,
        limit: int,
        after_id: str | None = None,
        status: RunStatus | None = None,
        name: str | None = None,
    ) -> list[RunDetails]:
        """Return a tenant's runs, newest first: all, or those of a status or of a style's name."""
        with self._database.read() as connection:
            found = run_rows.list_runs(connection, tenant, limit=limit, after_id=after_id, status=status, name=name)
        return self._details(found)

    def pause(self, tenant: str, run_id: str) -> RunDetails:
        """Pause a run after the current step; raise ConflictError if it has ended."""
        return self._change(tenant, run_id, changes.pause)

    def resume(self, tenant: str, run_id: str) -> RunDetails:
        """Resume a run that is paused, failed or cancelled.

        Raises ConflictError if it has succeeded, and QuotaExceededError if it has ended and would be one too many.
        """
        return self._change(tenant, run_id, changes.resume)

    def cancel(self, tenant: str, run_id: str) -> RunDetails:
        """Cancel a run after the current step. Cancelling twice, or cancelling an ended run, changes nothing."""
        return self._change(tenant, run_id, lambda run: changes.cancel(run, now=self._clock()))

    def extend(self, tenant: str, run_id: str, steps: int) -> RunDetails:
        """Give a run more steps.

        Raises ConflictError while it is evaluated or being stopped, and QuotaExceededError as `resume` does.
        """
        return self._change(tenant, run_id, lambda run: changes.extend(run, steps))

    def delete(self, tenant: str, run_id: str) -> None:
        """Hide a run that has ended at once, and let it be removed soon; the styles that it has made stay.

        Raises NotFoundError, and UnfinishedError if the run has not ended.
        """
        self.get(tenant, run_id)
        with self._database.write() as connection:
            run = run_rows.lock_run(connection, run_id)
            if run is not None and not run.status.is_terminal:
                raise UnfinishedError(f"{run_id} is {run.status}: cancel it, and delete it when it has ended.")
            run_rows.update_run(connection, run_id, pruned=True)
        self._wake()

    def publish(self, tenant: str, run_id: str) -> RunDetails:
        """Give the style's name the version that a run has made.

        Raises ConflictError if it has made none yet, and StyleExistsError if the name comes with nst.
        """
        run = self.get(tenant, run_id).run
        version = run.version
        if version is None:
            raise ConflictError(f"{run_id} has not produced a style yet: it is {run.status}.")

        def publish() -> None:
            with self._database.write() as connection:
                present = own_style(connection, run.name, tenant)
                found = find_version(connection, tenant, run.name, version, pointer="")
                if found is None:
                    raise NotFoundError(f"There is no version {version} of {run.name!r}.")
                access.put_style(connection, to_publish(found, present, tenant=tenant), now=self._clock())

        retried(publish)
        return self.get(tenant, run_id)

    def _change(self, tenant: str, run_id: str, change: Callable[[Run], RunChanges]) -> RunDetails:
        self.get(tenant, run_id)
        limits = self._tenants.limits(tenant)
        with self._database.write() as connection:
            run = run_rows.lock_run(connection, run_id)
            if run is not None and (values := change(run)):
                if run.status.is_terminal and not values.get("status", run.status).is_terminal:
                    check_new_run(connection, tenant, limits=limits)  # it had left the quota
                run_rows.update_run(connection, run_id, **values)
        self._wake()
        return self.get(tenant, run_id)

    def _details(self, found: list[Run]) -> list[RunDetails]:
        ids = [run.id for run in found]
        with self._database.read() as connection:
            counts = segment_rows.count_segments(connection, ids)
            kept = segment_rows.kept_checkpoints(connection, ids, newest=SHOWN_CHECKPOINTS)
            published = run_rows.published(connection, found)
        return [
            RunDetails(run=run, segments=counts[run.id], kept=kept[run.id], published=run.id in published)
            for run in found
        ]
