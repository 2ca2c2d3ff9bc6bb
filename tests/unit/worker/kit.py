"""Helpers for the worker's tests: photos, tiny styles, chunks, and stylizers that a test controls."""

import hashlib
import io
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from nst_core.gatys.config import GatysConfig
from nst_core.inference.stylizer import EXACT
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.weights import save_transformer
from nst_core.protocol.chunks import ChunkItem, ChunkMessage, OptimizeChunk, StyleRef, StylizeChunk, StylizeOptions
from nst_core.protocol.events import Event as ChunkEvent
from nst_core.protocol.events import load_event
from nst_core.storage.blobs import BlobStore, BlobUri
from tests.brokers import Broker

Pixels = NDArray[np.uint8]
WAIT_S = 30.0
#: A small optimisation: two layers of the loss network, a picture of 48 pixels.
TINY = GatysConfig(
    content={"relu2_1": 1.0}, gram={"relu1_1": 1.0, "relu2_1": 1.0}, optimizer="adam", iterations=12, size_px=48
)


class Invert:
    """A stylizer that turns a photo into its negative."""

    choice = EXACT
    nbytes = 0
    min_side_px = 16
    max_batch = 1

    def max_pixels(self, budget_bytes: int) -> int:
        return budget_bytes

    def __call__(self, batch: Pixels) -> Pixels:
        return 255 - batch


class Calls(Invert):
    """A stylizer that calls a function with the batch."""

    def __init__(self, function: Callable[[Pixels], Pixels]) -> None:
        self._function = function

    def __call__(self, batch: Pixels) -> Pixels:
        return self._function(batch)


@dataclass
class Gate(Invert):
    """Waits in every image until it is opened, and sets `entered` when an image arrives."""

    entered: Event = field(default_factory=Event)
    opened: Event = field(default_factory=Event)

    def __call__(self, batch: Pixels) -> Pixels:
        self.entered.set()
        assert self.opened.wait(WAIT_S)
        return super().__call__(batch)


@dataclass(frozen=True)
class Style:
    """A style's weights in storage."""

    ref: StyleRef
    weights: str


def photo(seed: int = 0, *, width: int = 48, height: int = 32) -> bytes:
    """Return a JPEG file of random blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(blocks).resize((width, height), Image.Resampling.NEAREST).save(file, "JPEG", quality=90)
    return file.getvalue()


def store_style(blobs: BlobStore, folder: Path, *, seed: int = 0, **fields: Any) -> Style:
    """Put the weights of a tiny random network, of a kind, into storage."""
    torch.manual_seed(seed)
    path = folder / f"{seed}.safetensors"
    save_transformer(TransformerNet(TransformerConfig(width=4, blocks=1, **fields)), path)
    data = path.read_bytes()
    version = hashlib.sha256(data).hexdigest()
    uri = BlobUri(blobs.bucket, f"styles/{version}.safetensors")
    blobs.put(uri, data)
    return Style(StyleRef(name="tiny", version=version, weights=str(uri)), str(uri))


def make_chunk(
    blobs: BlobStore,
    inputs: Sequence[bytes | None],
    *,
    style: Style | None = None,
    chunk_id: int = 1,
    suffix: str = "png",
    options: StylizeOptions | None = None,
) -> StylizeChunk:
    """Put photos into storage and return a chunk of them. None stands for a missing photo."""
    job_id = secrets.token_hex(6)
    for index, data in enumerate(inputs):
        if data is not None:
            blobs.put(BlobUri(blobs.bucket, f"{job_id}/in/{index}"), data)
    folder = f"s3://{blobs.bucket}/{job_id}"
    return StylizeChunk(
        job_id=job_id,
        chunk_id=chunk_id,
        attempt=1,
        style=style.ref if style else StyleRef(name="none", version="0" * 64, weights=f"{folder}/none"),
        options=options or StylizeOptions(),
        items=tuple(
            ChunkItem(index=index, input=f"{folder}/in/{index}", output=f"{folder}/out/{index}.{suffix}")
            for index in range(len(inputs))
        ),
    )


def make_optimize_chunk(
    blobs: BlobStore,
    inputs: Sequence[bytes | None],
    *,
    painting: bytes | None,
    config: GatysConfig = TINY,
    preview_every: int = 0,
    suffix: str = "png",
) -> OptimizeChunk:
    """Put photos and a painting into storage and return a chunk of them. None stands for a missing file."""
    chunk = make_chunk(blobs, inputs, suffix=suffix)
    folder = f"s3://{blobs.bucket}/{chunk.job_id}"
    if painting is not None:
        blobs.put(BlobUri.parse(f"{folder}/painting"), painting)
    return OptimizeChunk(
        job_id=chunk.job_id,
        chunk_id=chunk.chunk_id,
        attempt=1,
        items=chunk.items,
        painting=f"{folder}/painting",
        config=config.to_dict(),
        scratch=f"{folder}/scratch/",
        preview_every=preview_every,
    )


def outputs(blobs: BlobStore, chunk: ChunkMessage) -> dict[int, bytes]:
    """Return the stored results of a chunk by item."""
    uris = {item.index: BlobUri.parse(item.output) for item in chunk.items}
    return {index: blobs.get(uri) for index, uri in uris.items() if blobs.exists(uri)}


def events(broker: Broker) -> list[ChunkEvent]:
    """Return the events published so far."""
    return [load_event(event.data) for event in broker.read_events(limit=10_000, block_ms=1)]


def wait_until(condition: Callable[[], bool], *, seconds: float = WAIT_S) -> None:
    """Return as soon as a condition holds. Fail if it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
