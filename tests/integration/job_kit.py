"""Parts of requests, and workers that finish a job in the way that a test chooses."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from nst_core.protocol.chunks import StylizeChunk
from nst_core.protocol.events import ItemOutcome
from nst_core.storage.blobs import BlobUri
from tests.integration.conftest import Rig, finished, outcome, started

_DAY_S = 24 * 3600.0


def body(rig: Rig, count: int = 1, **changes: object) -> dict[str, object]:
    """Return a request for photos below the prefix of the test."""
    uris = [f"s3://nst/{rig.prefix}/{number}.jpg" for number in range(count)]
    return {"input": {"uris": uris}, "styles": ["wave"]} | changes


def submit(client: TestClient, rig: Rig, count: int = 1, **changes: Any) -> str:
    """Submit a job a moment later than the one before, and return its id."""
    rig.clock.advance(0.01)
    return str(client.post("/v1/jobs", json=body(rig, count, **changes)).json()["id"])


def region(rig: Rig, style: str = "udnie", mask: str | None = "sky") -> dict[str, Any]:
    """Return a region whose mask is below the prefix of the test."""
    return {"style": style, "mask": None if mask is None else f"s3://nst/{rig.prefix}/{mask}.png"}


def dispatch(rig: Rig) -> list[StylizeChunk]:
    rig.plan()
    rig.dispatcher.tick()
    return rig.take_all()


def failing(*indexes: int, code: str = "image_undecodable") -> Callable[[int], ItemOutcome]:
    def make(index: int) -> ItemOutcome:
        if index not in indexes:
            return outcome(index)
        return ItemOutcome(index=index, ms=1, error_code=code, error_message="No.")

    return make


def end(rig: Rig, make: Callable[[int], ItemOutcome | None] = outcome) -> None:
    """Let workers do all work. `make` decides the result of each item."""
    while chunks := dispatch(rig):
        for chunk in chunks:
            rig.report(started(chunk), finished(chunk, make))
    rig.finalizer.tick()


def end_with_images(rig: Rig) -> None:
    """Let workers do all work, and write an object of 1,000 bytes and its index for each item."""
    while chunks := dispatch(rig):
        for chunk in chunks:
            for item in chunk.items:
                rig.blobs.put(BlobUri.parse(item.output), b"x" * (1000 + item.index))
            rig.report(started(chunk), finished(chunk))
    rig.finalizer.tick()
