"""Parts of scheduler and worker with built-in faults, which files in a folder switch on and off.

Each double is a subclass of the real part: it adds faults and leaves nothing out.
"""

import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nst_core.inference.stylizer import EXACT
from nst_core.protocol.chunks import ChunkMessage
from nst_core.protocol.events import Event, dump_event
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.control.broker import StoredEvent
from tests.brokers import Broker

#: Environment variables: the folder of switches, this process's name, the file of effects, the time of an item.
SWITCHES, NAME, EFFECTS, ITEM_MS = "NST_FAULT_SWITCHES", "NST_FAULT_NAME", "NST_FAULT_EFFECTS", "NST_FAULT_ITEM_MS"
#: A photo with these bytes kills the worker that decodes it with SIGSEGV.
POISON = b"this photo kills its worker"
#: A photo with these bytes makes the worker that decodes it hang.
STICKY = b"this photo never ends"


class Switches:
    """Faults that are on or off. Each is a file, so that all processes see it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of_process(cls) -> "Switches":
        """Return the switches in the folder that the environment names."""
        return cls(Path(os.environ[SWITCHES]))

    def put(self, name: str, value: str = "") -> None:
        """Switch a fault on."""
        (self._folder / name).write_text(value)

    def drop(self, name: str) -> bool:
        """Switch a fault off, and return whether it was on. Of several processes, only one gets True."""
        try:
            (self._folder / name).unlink()
        except FileNotFoundError:
            return False
        return True

    def get(self, name: str) -> str | None:
        """Return the value of a fault, or None if it is off."""
        try:
            return (self._folder / name).read_text()
        except FileNotFoundError:
            return None

    def clear(self) -> None:
        """Switch everything off."""
        for path in self._folder.iterdir():
            path.unlink()

    def crash(self, point: str) -> None:
        """Kill this process once if the switch for this point is on."""
        if self.drop(f"crash-{point}"):
            os.kill(os.getpid(), signal.SIGKILL)

    def repeats(self, rng: random.Random) -> int:
        """Return how often to send a message."""
        return rng.randint(2, 5) if self.get("repeat") is not None else 1


def with_unknown_fields(values: Any) -> Any:
    """Return JSON values with an extra field in each object, as a newer version may send."""
    if isinstance(values, dict):
        added = {"from_a_newer_version": {"values": [1, "two", None]}}
        return {name: with_unknown_fields(value) for name, value in values.items()} | added
    return [with_unknown_fields(value) for value in values] if isinstance(values, list) else values


class FaultyBroker(Broker):
    """Sends messages and events several times, late, or with unknown fields. Dies at given points."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._switches = Switches.of_process()
        self._rng = random.Random(os.environ[NAME])
        self._guard = threading.Lock()
        self._late: list[bytes] = []

    def send_chunk(self, chunk: ChunkMessage, *, ahead: bool = False) -> None:
        self._switches.crash("claimed")
        for _ in range(self._switches.repeats(self._rng)):
            super().send_chunk(chunk, ahead=ahead)
        self._switches.crash("sent")

    def drop_events(self, events: list[StoredEvent]) -> None:
        self._switches.crash("applied")
        super().drop_events(events)

    def publish(self, event: Event) -> None:
        if self._switches.get(f"newer-{os.environ[NAME]}") is not None:
            self._add_event(json.dumps(with_unknown_fields(json.loads(dump_event(event)))).encode())
            return
        super().publish(event)
        if self._switches.get("repeat") is not None:
            self._repeat(dump_event(event))

    def _repeat(self, data: bytes) -> None:
        """Send an event up to four more times, some of them after later events."""
        with self._guard:
            self._late += [data] * self._rng.randint(1, 4)
            self._rng.shuffle(self._late)
            due, self._late = self._late[:3], self._late[3:][:200]
        for each in due:
            self._add_event(each)


class CountingStore(BlobStore):
    """Writes a line for each object before it is stored, except the objects of storage tests."""

    def put(self, uri: BlobUri, data: bytes, **options: Any) -> None:
        if uri.key.startswith("health/"):
            super().put(uri, data, **options)
            return
        line = f"{time.time():.3f} {os.environ[NAME]} {uri.key}\n".encode()
        file = os.open(os.environ[EFFECTS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, line)
        finally:
            os.close(file)
        super().put(uri, data, **options)


class QuickStylizer:
    """Makes a photo's negative in a few milliseconds. Raises an out-of-memory error if that fault is on."""

    choice = EXACT
    nbytes = 0
    min_side_px = 16
    max_batch = 1

    def __init__(self) -> None:
        self._seconds = float(os.environ.get(ITEM_MS, "5")) / 1000
        self._switches = Switches.of_process()
        self._rng = random.Random(os.environ[NAME])

    @classmethod
    def load(cls, source: bytes, **options: object) -> "QuickStylizer":
        return cls()

    def max_pixels(self, budget_bytes: int) -> int:
        """Return how many pixels a photo may have. A negative needs a few bytes per pixel."""
        return budget_bytes // 16

    def __call__(self, batch: NDArray[np.uint8]) -> NDArray[np.uint8]:
        time.sleep(self._seconds)
        share = self._switches.get("out-of-memory")
        if share is not None and self._rng.random() < float(share):
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        if self._switches.drop("stuck"):
            time.sleep(3600)
        return 255 - batch


def check_poison(data: bytes) -> None:
    """Die or hang if the photo contains the bytes for that."""
    if POISON in data:
        os.kill(os.getpid(), signal.SIGSEGV)
    if STICKY in data:
        time.sleep(3600)
