"""The full state of a training as one safetensors file.

Weights and optimizer moments are its tensors; the step, the config and what the training was made from are JSON in
its header. That is all: the learning rate, the photos, their crops, the noise and the shifts follow from the seed and
the step, so that there is no state of a schedule, of a random generator or of a data loader to keep.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from nst_core.errors import NstError, WeightsError
from nst_core.nets.safetensors_header import read_header
from nst_core.system.whole_files import write_whole
from nst_core.training.config import TrainConfig

#: The key of the JSON in the header's metadata.
TRAINING_KEY = "nst_training"
CHECKPOINT_NAME = "checkpoint.safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A training between two steps."""

    #: The number of completed steps.
    step: int
    config: TrainConfig
    #: The training's inputs besides the config, such as hashes of files; JSON-ready.
    origin: dict[str, Any] = field(default_factory=dict)
    #: Where the training was extended: at which step, from how many steps.
    extensions: tuple[tuple[int, int], ...] = ()
    tensors: dict[str, Tensor] = field(default_factory=dict)


def dump_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint as the bytes of a file; equal checkpoints give equal bytes."""
    about = {
        "step": checkpoint.step,
        "config": checkpoint.config.to_dict(),
        "origin": checkpoint.origin,
        "extensions": checkpoint.extensions,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    # Use a single entry: safetensors writes several in random order, but equal trainings must give equal files.
    return save(tensors, {TRAINING_KEY: json.dumps(about, sort_keys=True)})


def parse_checkpoint(data: bytes, *, name: str = "The checkpoint") -> Checkpoint:
    """Return the checkpoint of a file's bytes, its tensors on the CPU; `name` begins error messages.

    Raises WeightsError if it is damaged or not a checkpoint of a training.
    """
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{name} is damaged: {error}") from error
    text = read_header(data, name=name).metadata.get(TRAINING_KEY)
    if text is None:
        raise WeightsError(f"{name} is not a checkpoint of a training: its header has no {TRAINING_KEY}.")
    try:
        about = json.loads(text)
        return Checkpoint(
            step=int(about["step"]),
            config=TrainConfig.from_dict(about["config"]),
            origin=dict(about["origin"]),
            extensions=tuple((int(at), int(steps)) for at, steps in about["extensions"]),
            tensors=tensors,
        )
    except (NstError, LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WeightsError(f"{name} cannot be understood: {error}") from error


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint atomically; if it cannot be written, raise WeightsError and keep the old file."""
    try:
        write_whole(path, dump_checkpoint(checkpoint))
    except OSError as error:
        raise WeightsError(
            f"The checkpoint {path} cannot be written: {error.strerror}. The previous one is kept."
        ) from error


def read_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint of a file, as `parse_checkpoint` does; raise WeightsError also if it is missing."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"The checkpoint {path} cannot be read: {error.strerror}.") from error
    return parse_checkpoint(data, name=f"The checkpoint {path}")
