"""Trainings in memory, and the one that is kept from a segment to the next."""

from dataclasses import dataclass
from threading import Lock, Timer

from nst_core.segments import PhotoReport, StoredFile, TrainSegment
from nst_core.training.trainer import Trainer
from worker.photo_notes import PhotoNotes
from worker.samples import Samples
from worker.tally import Tally


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a training stands, and all that its course from there follows from.

    The rest of the config is in the checkpoint.
    """

    run_id: str
    steps: object
    painting: str
    photos: str
    held_out: int
    samples: tuple[str, ...]
    exact: bool
    #: SHA-256 of the checkpoint.
    checkpoint: str


def standing(segment: TrainSegment, checkpoint: StoredFile) -> Standing:
    """Return where a segment's run stands with a checkpoint."""
    return Standing(
        run_id=segment.run_id,
        steps=segment.config.get("steps"),
        painting=segment.painting.sha256,
        photos=segment.photos,
        held_out=segment.held_out,
        samples=segment.samples,
        exact=segment.exact,
        checkpoint=checkpoint.sha256,
    )


@dataclass(kw_only=True, eq=False)
class LiveTraining:
    """A trainer and what belongs to it."""

    trainer: Trainer
    samples: Samples
    notes: PhotoNotes
    tally: Tally
    #: The next step has to be compiled first.
    compiles: bool

    def close(self) -> None:
        """Stop the trainer's threads."""
        self.trainer.close()

    def photos(self) -> PhotoReport:
        """Return what was found of the photos up to now."""
        return self.notes.report(self.trainer.photos)


class Shelf:
    """Keeps one training for its next segment, which may come soon, not at all, or at another worker."""

    def __init__(self, *, keep_s: float) -> None:
        """Let a training go that nobody has taken for so long."""
        self._keep_s = keep_s
        self._lock = Lock()
        self._kept: tuple[Standing, LiveTraining] | None = None
        self._timer: Timer | None = None

    def take(self, wanted: Standing | None) -> LiveTraining | None:
        """Return the training that stands exactly there, if it is kept; another one is let go."""
        kept = self._swap(None)
        if kept is None:
            return None
        if kept[0] == wanted:
            return kept[1]
        kept[1].close()
        return None

    def put(self, place: Standing, training: LiveTraining) -> None:
        """Keep a training that stands there, instead of another one."""
        if (other := self._swap((place, training))) is not None:
            other[1].close()

    def close(self) -> None:
        """Let go of what is kept."""
        self.take(None)

    def _swap(self, new: tuple[Standing, LiveTraining] | None) -> tuple[Standing, LiveTraining] | None:
        with self._lock:
            old, self._kept = self._kept, new
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if new is not None:
                self._timer = Timer(self._keep_s, self._expire, args=[new])
                self._timer.daemon = True
                self._timer.start()
        return old

    def _expire(self, kept: tuple[Standing, LiveTraining]) -> None:
        with self._lock:
            if self._kept is not kept:
                return
            self._kept = None
        kept[1].close()
