"""Trainings in memory, and a cache of them between two segments of a run."""

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock, Timer

from nst_core.gatys.costs import kernel_bytes
from nst_core.nets.costs import weights_bytes
from nst_core.protocol.events import PhotoReport
from nst_core.protocol.segments import StoredFile, TrainSegment
from nst_core.training.trainer import Trainer
from worker.segments.photo_notes import PhotoNotes
from worker.segments.samples import Samples
from worker.segments.tally import Tally

#: Memory of a VGG up to its fourth block, in float32, and of the other objects of a training.
_LOSS_NETWORK_BYTES = 100 * 2**20


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """The state of a run, and every input that decides how the training continues from there.

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
    """Return the state of a segment's run at a checkpoint."""
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
    """A trainer and the objects that belong to it."""

    trainer: Trainer
    samples: Samples
    notes: PhotoNotes
    tally: Tally
    #: Whether the next step must be compiled first.
    compiles: bool

    @property
    def nbytes(self) -> int:
        """About how many bytes it takes between steps: weights, gradients, moments and the loss network."""
        config = self.trainer.config
        kernels = kernel_bytes(config.network, config.layers)
        return 4 * weights_bytes(config.transformer) + _LOSS_NETWORK_BYTES + kernels

    def close(self) -> None:
        """Stop the trainer's threads."""
        self.trainer.close()

    def photos(self) -> PhotoReport:
        """Return what is known about the photos."""
        return self.notes.report(self.trainer.photos)


class TrainingCache:
    """Keeps trainings for their next segment, which may come soon, never, or at another worker."""

    def __init__(self, *, keep_s: float, count: int = 4, max_bytes: int = 2 * 2**30) -> None:
        """Keep up to `count` trainings, of up to `max_bytes` together, each for `keep_s` seconds.

        The oldest one makes room for a new one. A single training may have more bytes.
        """
        self._keep_s = keep_s
        self._count = count
        self._max_bytes = max_bytes
        self._lock = Lock()
        #: By run, the oldest first.
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def take(self, wanted: TrainingState | None) -> LoadedTraining | None:
        """Return the training with exactly this state, if it is kept; another training of the run is closed."""
        if wanted is None:
            return None
        with self._lock:
            kept = self._kept.pop(wanted.run_id, None)
        if kept is None:
            return None
        kept.timer.cancel()
        if kept.state == wanted:
            return kept.training
        kept.training.close()
        return None

    def put(self, state: TrainingState, training: LoadedTraining) -> None:
        """Keep a training with this state, in place of any other training of its run."""
        kept = _Kept(state, training, Timer(self._keep_s, lambda: self._expire(kept)))
        kept.timer.daemon = True
        with self._lock:
            gone = [self._kept.pop(state.run_id)] if state.run_id in self._kept else []
            self._kept[state.run_id] = kept
            kept.timer.start()
            while len(self._kept) > self._count or (len(self._kept) > 1 and self._nbytes > self._max_bytes):
                gone.append(self._kept.popitem(last=False)[1])
        for other in gone:
            other.close()

    def close(self) -> None:
        """Close all trainings."""
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
            if self._kept.get(kept.state.run_id) is not kept:
                return
            del self._kept[kept.state.run_id]
        kept.training.close()


@dataclass(eq=False)
class _Kept:
    state: TrainingState
    training: LoadedTraining
    timer: Timer

    def close(self) -> None:
        self.timer.cancel()
        self.training.close()
