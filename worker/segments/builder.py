"""Loads the training that a segment describes: from the start, or from a checkpoint."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from nst_core.errors import ConfigError, EngineError, WeightsError
from nst_core.nets.loss_network import LossNetwork
from nst_core.nets.transformer import TransformerNet
from nst_core.protocol.events import TrainProgress
from nst_core.protocol.segments import TrainSegment
from nst_core.storage.blobs import BlobStore
from nst_core.system.c_kernels import named_compiler
from nst_core.system.devices import training_precision
from nst_core.training.checkpoint import Checkpoint
from nst_core.training.config import TrainConfig
from nst_core.training.costs import training_bytes
from nst_core.training.guesses import guess_for
from nst_core.training.held_out import HELD_OUT, choose_held_out, few_held_out, split_names
from nst_core.training.objective import style_grams
from nst_core.training.pictures import parse_style
from nst_core.training.sources import PhotoSource, SomePhotos
from nst_core.training.trainer import Trainer, compiling_pays
from worker.runtime.limits import work_bytes
from worker.runtime.loss_networks import COMPILING, RANDOM_WEIGHTS, load_network_of
from worker.runtime.outcomes import InterruptedWorkError
from worker.runtime.steering import Steering
from worker.segments.cache import LoadedTraining, TrainingCache
from worker.segments.photo_library import PhotoLibrary
from worker.segments.photo_notes import PhotoNotes
from worker.segments.samples import Compute, Samples
from worker.segments.stored import fetch, fetch_checkpoint, fetch_initial
from worker.segments.tally import Tally
from worker.settings import WorkerSettings

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
#: Threads that read photos ahead. At first, the photos come from the storage.
_READERS = 2
#: Trainings that are compiled before all compiled code is dropped: torch stops after eight versions of a function.
_COMPILED = 6


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """The inputs of a trainer, without weights."""

    config: TrainConfig
    style: Tensor
    photos: PhotoSource
    #: Marks of the photos that are held out.
    held_out: list[str]
    #: The network to begin with; None for random weights, or those of a checkpoint.
    initial: TransformerNet | None
    #: The SHA-256 of the style predictor that guessed it, if one did.
    predictor_sha256: str | None
    network: LossNetwork


class TrainingBuilder:
    """Reads the inputs that a segment names and makes a trainer of them."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        blobs: BlobStore,
        library: PhotoLibrary,
        compute: Compute,
        device: torch.device,
        cache: TrainingCache,
    ) -> None:
        """Run networks with `compute`, on `device`. The builder may close the trainings in `cache`."""
        self._cache = cache
        #: Trainings that were compiled since compiled code was dropped.
        self._compiled = 0
        self._settings = settings
        self._blobs = blobs
        self._library = library
        self._compute = compute
        self._device = device

    def build(self, segment: TrainSegment, steering: Steering[TrainProgress]) -> LoadedTraining:
        """Return the training of a segment, at the segment's checkpoint or at the start.

        Raises InterruptedWorkError if the segment was stopped, and an NstError if an input cannot be used.
        """
        checkpoint = fetch_checkpoint(self._blobs, segment.checkpoint) if segment.checkpoint else None
        steering.on_progress(TrainProgress(step=checkpoint.step if checkpoint else 0, note="loading"))
        self._check_memory(config_of(segment, checkpoint))
        parts = self._read(segment, checkpoint, steering)
        _check(steering)
        samples = Samples(self._blobs, segment.samples, place=segment.place, max_bytes=self._settings.max_input_bytes)
        warnings = samples.problems()
        held_out = len(parts.held_out)
        if fewer := few_held_out(held_out, segment.held_out):
            warnings.insert(0, fewer)
        notes = PhotoNotes(self._blobs, segment.place, held_out=held_out, warnings=warnings)
        _check(steering)
        trainer, compiled = self._trainer(segment, parts, while_going(self._compute, steering))
        try:
            self._resume(trainer, segment, checkpoint, parts)
        except BaseException:
            trainer.close()
            raise
        return LoadedTraining(trainer=trainer, samples=samples, notes=notes, tally=Tally(), compiles=compiled)

    def _check_memory(self, config: TrainConfig) -> None:
        """Raise EngineError, which is retryable, if this worker has too little memory: another one may have more."""
        needed, most = training_bytes(config), work_bytes(self._settings, self._device)
        if needed > most:
            raise EngineError(
                f"The training needs about {needed / 1e9:.1f} GB of memory; this worker has {most / 1e9:.1f} GB."
            )

    def _read(self, segment: TrainSegment, checkpoint: Checkpoint | None, steering: Steering[TrainProgress]) -> _Parts:
        config = config_of(segment, checkpoint)
        painting = read_painting(self._blobs, segment, max_bytes=self._settings.max_input_bytes)
        style = parse_style(painting, size_px=config.style_size_px, name="The painting")
        source = self._library.open(segment.photos, config)
        initial, guess, origin = None, None, checkpoint.origin if checkpoint else {}
        if checkpoint is None and segment.initial is not None:
            initial, origin = fetch_initial(self._blobs, segment.initial)
            with RANDOM_WEIGHTS:
                guess = guess_for(initial, config)
            if guess is not None:
                initial = guess(style, on_piece=while_going(self._compute, steering))
        # A fork holds out the photos that its parent has not trained on either.
        held_out = origin.get(HELD_OUT)
        if held_out is None:
            held_out = choose_held_out(source, segment.held_out, config=config, on_photo=lambda: _check(steering))
        training, _ = split_names(source.names, held_out)
        if not training:
            raise ConfigError(f"All photos under {segment.photos} are held out, and none is left to train on.")
        return _Parts(
            config=config,
            style=style,
            photos=SomePhotos(source, training),
            held_out=held_out,
            initial=initial,
            predictor_sha256=None if guess is None else guess.sha256,
            network=load_network_of(config, on_bytes=lambda: _check(steering)),
        )

    def _trainer(self, segment: TrainSegment, parts: _Parts, compute: Compute) -> tuple[Trainer, bool]:
        """Return a trainer before its first step, and whether it is compiled; `compute` may end it early."""
        network = compute(lambda: parts.network.to(self._device).to(memory_format=torch.channels_last))
        style = compute(lambda: parts.style.to(self._device))
        # In calls of their own: a painting may be large, or have many crops.
        grams = style_grams(parts.config, network, style, on_piece=compute)
        precision = "fp32" if segment.exact else training_precision(self._device)
        wanted = not segment.exact and self._settings.train_compile
        compiled = wanted and has_compiler(self._device) and compiling_pays(self._device, precision)
        make = partial(
            Trainer,
            parts.config,
            network=network,
            style=grams,
            photos=parts.photos,
            device=self._device,
            initial=parts.initial,
            precision=precision,
            compiled=compiled,
            threads=_READERS,
        )

        def build() -> Trainer:
            with RANDOM_WEIGHTS:
                return make()

        if compiled:
            self._make_room_for_code()
        return compute(build), compiled

    def _make_room_for_code(self) -> None:
        """Drop compiled code before there is so much of it that torch would stop compiling."""
        with COMPILING:
            self._compiled += 1
            if self._compiled > _COMPILED:
                self._cache.close()
                torch.compiler.reset()
                self._compiled = 1

    def _resume(self, trainer: Trainer, segment: TrainSegment, checkpoint: Checkpoint | None, parts: _Parts) -> None:
        """Continue from the checkpoint; raise WeightsError if it was made with another painting."""
        trainer.origin = {
            "style_sha256": segment.painting.sha256,
            "initial_sha256": segment.initial and segment.initial.sha256,
            "photos": trainer.photos.describe(),
            "predictor_sha256": parts.predictor_sha256,
            HELD_OUT: parts.held_out,
        }
        if checkpoint is None:
            return
        assert segment.checkpoint is not None
        name = f"The checkpoint {segment.checkpoint.uri}"
        if checkpoint.origin.get("style_sha256") != segment.painting.sha256:
            raise WeightsError(f"{name} was made with another painting.")
        self._compute(lambda: trainer.resume(checkpoint, name=name, extend=True))
        for key in ("initial_sha256", "predictor_sha256"):
            trainer.origin[key] = checkpoint.origin.get(key)
        if checkpoint.origin.get("photos") != trainer.origin["photos"]:
            _log.warning("run %s: the photos have changed; the training continues with the new ones", segment.run_id)


def config_of(segment: TrainSegment, checkpoint: Checkpoint | None) -> TrainConfig:
    """Return the config of a segment: that of the checkpoint, if there is one, with the segment's number of steps."""
    config = TrainConfig.from_dict(segment.config)
    return config if checkpoint is None else replace(checkpoint.config, steps=config.steps)


def read_painting(blobs: BlobStore, segment: TrainSegment, *, max_bytes: int) -> bytes:
    """Return the file of a segment's painting; raise ConfigError if it was replaced."""
    return fetch(blobs, segment.painting, error=ConfigError, max_bytes=max_bytes)


def has_compiler(device: torch.device) -> bool:
    """Return whether torch can compile networks: it needs a C++ compiler for a CPU, a C compiler for a GPU."""
    named, usual = ("CXX", ("g++",)) if device.type == "cpu" else ("CC", ("gcc", "clang", "cc"))
    commands = named_compiler(named)[:1] or usual
    return any(shutil.which(command) for command in commands)


def while_going(compute: Compute, steering: Steering[TrainProgress]) -> Compute:
    """Return a `compute` that raises InterruptedWorkError once the segment was stopped."""

    def checked(call: Callable[[], _T], /) -> _T:
        _check(steering)
        return compute(call)

    return checked


def _check(steering: Steering[TrainProgress]) -> None:
    if not steering.going():
        raise InterruptedWorkError
