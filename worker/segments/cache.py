"""Trainings in memory, and those that are kept from a segment to the next."""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock, Timer

from nst_core.nets.costs import weights_bytes
from nst_core.protocol.events import PhotoReport
from nst_core.protocol.segments import StoredFile, TrainSegment
from nst_core.training.trainer import Trainer
from worker.segments.photo_notes import PhotoNotes
from worker.segments.samples import Samples
from worker.segments.tally import Tally

#: Of a VGG up to its fourth block, in float32, and of what a training holds besides.
_LOSS_NETWORK_BYTES = 100 * 2**20


@dataclass(frozen=True, kw_only=True)
class TrainingState:
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


def state_after(segment: TrainSegment, checkpoint: StoredFile) -> TrainingState:
    """Return where a segment's run stands with a checkpoint."""
    return TrainingState(
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
class LoadedTraining:
    """A trainer and what belongs to it."""

    trainer: Trainer
    samples: Samples
    notes: PhotoNotes
    tally: Tally
    #: The next step has to be compiled first.
    compiles: bool

    @property
    def nbytes(self) -> int:
        """About how many bytes it takes between its steps: weights, gradients, moments, and the loss network."""
        return 4 * weights_bytes(self.trainer.config.transformer) + _LOSS_NETWORK_BYTES

    def close(self) -> None:
        """Stop the trainer's threads."""
        self.trainer.close()

    def photos(self) -> PhotoReport:
        """Return what was found of the photos up to now."""
        return self.notes.report(self.trainer.photos)


class TrainingCache:
    """Keeps trainings for their next segments, which may come soon, not at all, or at another worker."""

    def __init__(self, *, keep_s: float, count: int = 4, max_bytes: int = 2 * 2**30) -> None:
        """Keep so many trainings, of so many bytes together, and each for `keep_s` seconds.

        The one that was put here first makes room for another. One alone may have more bytes.
        """
        self._keep_s = keep_s
        self._count = count
        self._max_bytes = max_bytes
        self._lock = Lock()
        #: By run, the first one first.
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def take(self, wanted: TrainingState | None) -> LoadedTraining | None:
        """Return the training that stands exactly there, if it is kept; one of the same run elsewhere is let go."""
        if wanted is None:
            return None
        with self._lock:
            kept = self._kept.pop(wanted.run_id, None)
        if kept is None:
            return None
        kept.timer.cancel()
        if kept.place == wanted:
            return kept.training
        kept.training.close()
        return None

    def put(self, place: TrainingState, training: LoadedTraining) -> None:
        """Keep a training that stands there, instead of another one of its run."""
        kept = _Kept(place, training, Timer(self._keep_s, lambda: self._expire(kept)))
        kept.timer.daemon = True
        with self._lock:
            gone = [self._kept.pop(place.run_id)] if place.run_id in self._kept else []
            self._kept[place.run_id] = kept
            kept.timer.start()
            while len(self._kept) > self._count or (len(self._kept) > 1 and self._nbytes > self._max_bytes):
                gone.append(self._kept.popitem(last=False)[1])
        for other in gone:
            other.close()

    def close(self) -> None:
        """Let go of all that is kept."""
        with self._lock:
            gone = list(self._kept.values())
            self._kept.clear()
        for kept in gone:
            kept.close()

    @property
    def _nbytes(self) -> int:
        return sum(kept.training.nbytes for kept in self._kept.values())

    def _expire(self, kept: "_Kept") -> None:
        with self._lock:
            if self._kept.get(kept.place.run_id) is not kept:
                return
            del self._kept[kept.place.run_id]
        kept.training.close()


@dataclass(eq=False)
class _Kept:
    place: TrainingState
    training: LoadedTraining
    timer: Timer

    def close(self) -> None:
        self.timer.cancel()
        self.training.close()
