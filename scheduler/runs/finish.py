"""Finish runs: make a version of the style from a run's result, with a card that says how it was made."""

import logging
import time
from dataclasses import replace
from typing import Unpack

from pydantic import TypeAdapter

from nst_core.client.resources.runs import RunStatus
from nst_core.clock import Clock
from nst_core.errors import NstError, WeightsError
from nst_core.protocol.events import Result
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.control.setbacks import Setbacks, of_run
from scheduler.domain.cards import completed
from scheduler.domain.errors import StyleExistsError
from scheduler.domain.runs import Run, SegmentState
from scheduler.runs.cards import about_of, make_card
from scheduler.runs.losses import final_losses
from scheduler.store import runs as run_rows
from scheduler.store import segments as segment_rows
from scheduler.store import styles as access
from scheduler.store import versions
from scheduler.store.database import Connection, Database, retried
from scheduler.store.runs import RunChanges
from scheduler.store.styles import StyleRow
from scheduler.styles.ownership import own_style
from scheduler.styles.weights import keep_weights

log = logging.getLogger(__name__)

_RESULT = TypeAdapter(Result)
#: The tidier may work on the run at the same time.
_COMPARED = sorted(Run.__dataclass_fields__.keys() - {"untidy"})


class RunFinisher:
    """Ends runs that are evaluated."""

    def __init__(self, database: Database, blobs: BlobStore, *, clock: Clock, timer: Clock = time.monotonic) -> None:
        """`clock` gives the time of day, for the end of a run; `timer` is a steady clock, for pauses."""
        self._database = database
        self._blobs = blobs
        self._clock = clock
        self._setbacks = Setbacks[str]("finishing", ids=of_run, timer=timer)

    def tick(self) -> bool:
        """Finish the runs that have a result; return whether one has ended.

        A scheduler that dies in between does the same again. A result that cannot be used fails its run, and no
        other one waits for it.
        """
        with self._database.read() as connection:
            found = run_rows.runs_with_result(connection)
        return self._setbacks.attempt_each(found, self._finish_by_id)

    def _finish_by_id(self, run_id: str) -> bool:
        with self._database.read() as connection:
            run = run_rows.find_run(connection, run_id)
        return run is not None and run.is_through and self._finish(run)

    def _finish(self, run: Run) -> bool:
        try:
            style = self._make_style(run)
        except NstError as error:
            if error.retryable:
                raise
            self._end(run, status=RunStatus.FAILED, error_code=error.code, error_message=error.message)
        else:
            retried(lambda: self._end(run, style, status=RunStatus.SUCCEEDED, version=style.version))
        return True

    def _make_style(self, run: Run) -> StyleRow:
        """Keep the weights, and return them as a style with its card."""
        result = _RESULT.validate_python(run.result)
        kept = keep_weights(self._blobs, BlobUri.parse(result.weights.uri))
        if kept.sha256 != result.weights.sha256:
            raise WeightsError(f"{result.weights.uri} is not what the worker has put there.")
        with self._database.read() as connection:
            segments = segment_rows.list_segments(connection, run.id)
            about = about_of(connection, run)
        card = make_card(run, about=about, final_losses=final_losses(self._blobs, segments))
        return StyleRow(
            name=run.name,
            version=kept.sha256,
            weights=str(kept.uri),
            network=kept.config.to_dict(),
            card=card,
            tenant=run.tenant,
        )

    def _end(self, found: Run, style: StyleRow | None = None, **changes: Unpack[RunChanges]) -> None:
        now = self._clock()
        with self._database.write() as connection:
            run = run_rows.lock_unchanged_run(connection, found, *_COMPARED)
            if run is None:
                return  # it was stopped since, or another scheduler has ended it
            if style is not None:
                publish(connection, style, run_id=run.id, only_note=not run.spec.publish, now=now)
            ended: RunChanges = {"finished_at": now, "live": SegmentState.NONE, "untidy": True}
            run_rows.update_run(connection, run.id, **(ended | changes))


def publish(connection: Connection, style: StyleRow, *, run_id: str | None, only_note: bool, now: float) -> bool:
    """Record a version of a style, and publish it unless the name belongs to nst.

    Its card is completed by that of the present version. Return whether it is the current version.
    """
    present = access.find_style(connection, style.name, tenant=style.tenant)
    if present is not None and present.tenant == style.tenant:
        style = replace(style, card=completed(style.card, present.card))
    versions.add_version(connection, style.version, style.weights, style.index, style.network, now=now)
    versions.put_card(connection, style.name, style.version, style.card, tenant=style.tenant, run_id=run_id, now=now)
    if only_note:
        return False
    try:
        own_style(connection, style.name, style.tenant)
    except StyleExistsError as error:
        log.warning("A version of %s is not published: %s", style.name, error.message)
        return False
    access.put_style(connection, style, now=now)
    return True
