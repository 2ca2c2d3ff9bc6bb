"""Helpers for tests of training in the worker: tiny segments in storage, and a training that a test controls."""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from nst_core.nets.transformer import TransformerConfig
from nst_core.protocol.events import SegmentFinished, TrainProgress
from nst_core.protocol.segments import StoredFile, TrainSegment
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.training.checkpoint import Checkpoint, parse_checkpoint
from nst_core.training.config import TrainConfig
from nst_core.training.step_losses import StepLosses
from worker.runtime.engine import Engine
from worker.runtime.steering import Steering
from worker.segments.builder import TrainingBuilder
from worker.segments.cache import TrainingCache
from worker.segments.photo_library import PhotoLibrary
from worker.segments.training import Training
from worker.settings import WorkerSettings

_T = TypeVar("_T")
#: Twelve steps on two crops of 32 pixels, with two layers of the loss network.
TINY = TrainConfig(
    transformer=TransformerConfig(width=4, blocks=1),
    steps=12,
    batch_size=2,
    size_px=32,
    style_size_px=48,
    content_layer="relu1_2",
    style_weights={"relu1_2": 1e-3, "relu2_1": 1e-3},
    warmup_steps=4,
    learning_rate=5e-3,
)


def soft_picture(seed: int, *, width: int = 64, height: int = 48) -> bytes:
    """Return a PNG file of soft colour blobs."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    out = BytesIO()
    Image.fromarray(blocks).resize((width, height), Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


def soft_pictures(count: int = 6) -> dict[str, bytes]:
    """Return some photos by file name."""
    return {f"{number}.png": soft_picture(number) for number in range(count)}


def put(blobs: BlobStore, key: str, data: bytes) -> StoredFile:
    """Put an object into storage."""
    uri = BlobUri(blobs.bucket, key)
    blobs.put(uri, data)
    return StoredFile(uri=str(uri), sha256=hashlib.sha256(data).hexdigest())


def make_segment(
    blobs: BlobStore,
    *,
    config: TrainConfig = TINY,
    photos: Mapping[str, bytes] | None = None,
    samples: Mapping[str, bytes] | None = None,
    **changes: Any,
) -> TrainSegment:
    """Put a painting, photos and samples into storage and return the first segment of a run."""
    run_id = f"run_{secrets.token_hex(6)}"
    for name, data in (soft_pictures() if photos is None else photos).items():
        put(blobs, f"{run_id}/photos/{name}", data)
    values: dict[str, Any] = {
        "run_id": run_id,
        "attempt": 1,
        "config": config.to_dict(),
        "painting": put(blobs, f"{run_id}/painting.png", soft_picture(99)),
        "photos": f"s3://{blobs.bucket}/{run_id}/photos/",
        "samples": tuple(put(blobs, f"{run_id}/s/{name}", data).uri for name, data in (samples or {}).items()),
        "place": f"s3://{blobs.bucket}/{run_id}/place/",
        "exact": True,
        "segment_s": 600.0,
    }
    return TrainSegment(**(values | changes))


def next_segment(segment: TrainSegment, end: SegmentFinished, **changes: Any) -> TrainSegment:
    """Return the segment that a scheduler sends after the end of the previous one."""
    assert end.failure is None, end.failure
    return replace(segment, attempt=segment.attempt + 1, checkpoint=end.checkpoint or segment.checkpoint, **changes)


def objects(blobs: BlobStore, segment: TrainSegment, folder: str) -> list[str]:
    """Return the names in a folder of a run's place."""
    prefix = BlobUri.parse(segment.place + folder)
    return [key.removeprefix(prefix.key) for key in blobs.list_keys(prefix)]


def checkpoint_of(blobs: BlobStore, end: SegmentFinished) -> Checkpoint:
    """Return the checkpoint that a segment stored."""
    assert end.checkpoint is not None
    data = blobs.get(BlobUri.parse(end.checkpoint.uri))
    assert hashlib.sha256(data).hexdigest() == end.checkpoint.sha256
    return parse_checkpoint(data)


@dataclass
class Bench:
    """The training phase without Celery and Redis. Several instances stand for several workers."""

    settings: WorkerSettings
    blobs: BlobStore
    engine: Engine
    folder: Path
    keep_s: float = 60.0
    #: Called after each step, with its number.
    on_step: Callable[[int], None] = lambda step: None
    #: Called after each step, with its losses.
    on_losses: Callable[[StepLosses], object] = lambda losses: None
    going: bool = True
    wanted: bool = True
    seen: list[TrainProgress] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.library = PhotoLibrary(self.blobs, self.folder, max_bytes=1 << 20)
        self.cache = TrainingCache(keep_s=self.keep_s)
        self.builder = TrainingBuilder(
            self.settings,
            blobs=self.blobs,
            library=self.library,
            compute=self.compute,
            device=torch.device("cpu"),
            cache=self.cache,
        )
        self.training = Training(
            name="w@test",
            blobs=self.blobs,
            builder=self.builder,
            cache=self.cache,
            compute=self.compute,
            on_step=self.on_losses,
        )

    def compute(self, call: Callable[[], _T], /) -> _T:
        """Run a call on the engine."""
        return self.engine.submit(call, lane="train").result()

    def run(self, segment: TrainSegment, *, until: int | None = None, going: bool = True) -> SegmentFinished:
        """Work on a segment, which is told to stop after a step, or at once."""
        self.going = going

        def on_progress(progress: TrainProgress) -> None:
            self.seen.append(progress)
            self.on_step(progress.step)
            if until is not None and progress.step >= until:
                self.going = False

        return self.training.run(segment, self.steering(on_progress))

    def steering(self, on_progress: Callable[[TrainProgress], None]) -> Steering[TrainProgress]:
        """Return the callbacks of a training."""
        return Steering(going=lambda: self.going, wanted=lambda: self.wanted, on_progress=on_progress)

    def close(self) -> None:
        """Release everything."""
        self.cache.close()
        self.library.close()
