"""`python -m tests.hostile.watch URL PID`: measures a stack from outside until standard input ends.

A separate process, so that the rest of the test does not delay it. It asks `/livez` ten times a
second, listens to the workers' events in Redis, checks the heartbeat files, and reads the memory of all processes.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import redis

from nst_core.errors import ProtocolError
from nst_core.protocol.events import EVENTS_STREAM, ChunkFinished, ChunkProgress, ChunkStarted, load_event

_LIVEZ_S, _MEMORY_S = 0.1, 0.3
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Seen:
    """The worst values so far."""

    #: The longest time in seconds without an answer of `/livez`, less the delay of the watcher itself.
    livez_gap_s: float = 0.0
    #: The same for the time between two events of a worker about one chunk.
    worker_gap_s: float = 0.0
    #: The same for the age of a heartbeat file, by process.
    heartbeat_gap_s: dict[str, float] = field(default_factory=dict)
    #: The longest time in which the watcher itself did not run.
    own_gap_s: float = 0.0
    livez_answers: int = 0
    events: int = 0
    #: The most resident memory by process, in MB. The children of a worker or scheduler are counted separately.
    memory_mb: dict[str, float] = field(default_factory=dict)


class Watch:
    """Watches in threads until it is stopped."""

    def __init__(self, url: str, pid: int, *, redis_url: str, heartbeats: Path) -> None:
        """`pid` is the parent of the stack's processes, `heartbeats` the folder of their heartbeat files."""
        self.seen = Seen()
        self._url = url
        self._pid = pid
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=10)
        self._heartbeats = heartbeats
        self._stop = threading.Event()
        #: The total seconds that were lost because the machine was busy.
        self._lost_s = 0.0

    def run(self) -> None:
        """Return when the standard input ends."""
        for target in (self._tick, self._ask, self._listen, self._measure):
            threading.Thread(target=target, daemon=True).start()
        sys.stdin.read()
        self._stop.set()

    def _tick(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(0.02):
            now = time.monotonic()
            lost = now - last - 0.02
            self.seen.own_gap_s = max(self.seen.own_gap_s, lost)
            self._lost_s += max(0.0, lost - 0.05)
            last = now

    def _ask(self) -> None:
        with httpx.Client(timeout=120, trust_env=False) as client:
            last, lost = time.monotonic(), self._lost_s
            while not self._stop.is_set():
                with suppress(httpx.HTTPError):
                    client.get(f"{self._url}/livez").raise_for_status()
                    self.seen.livez_answers += 1
                    now = time.monotonic()
                    gap = now - last - (self._lost_s - lost)
                    self.seen.livez_gap_s = max(self.seen.livez_gap_s, gap)
                    last, lost = now, self._lost_s
                self._stop.wait(_LIVEZ_S)

    def _listen(self) -> None:
        place = "$"
        told: dict[tuple[int, int], tuple[float, float]] = {}
        while not self._stop.is_set():
            try:
                answer: Any = self._redis.xread({EVENTS_STREAM: place}, count=500, block=200)
            except redis.RedisError:
                told.clear()
                continue
            for entry, fields in answer[0][1] if answer else ():
                place = entry.decode()
                self._note(fields.get(b"event", b""), told)

    def _note(self, data: bytes, told: dict[tuple[int, int], tuple[float, float]]) -> None:
        try:
            event = load_event(data)
        except ProtocolError:
            return
        self.seen.events += 1
        if not isinstance(event, ChunkStarted | ChunkProgress | ChunkFinished):
            return
        # Only between two events, because the last one may have been removed from the stream before it was seen here.
        key, now = (event.chunk_id, event.attempt), time.monotonic()
        if key in told:
            at, lost = told[key]
            self.seen.worker_gap_s = max(self.seen.worker_gap_s, now - at - (self._lost_s - lost))
        told[key] = (now, self._lost_s)

    def _measure(self) -> None:
        touched: dict[str, tuple[float, float]] = {}
        while not self._stop.wait(_MEMORY_S):
            for name, mb in memory_of_stack(self._pid):
                self.seen.memory_mb[name] = max(mb, self.seen.memory_mb.get(name, 0.0))
            for path in self._heartbeats.glob("*"):
                with suppress(OSError):
                    at = path.stat().st_mtime
                    if touched.get(path.name, (0.0, 0.0))[0] != at:
                        touched[path.name] = (at, self._lost_s)
                    gap = time.time() - at - (self._lost_s - touched[path.name][1])
                    self.seen.heartbeat_gap_s[path.name] = max(gap, self.seen.heartbeat_gap_s.get(path.name, 0.0))


def memory_of_stack(pid: int) -> Iterator[tuple[str, float]]:
    """Yield the role and the resident memory in MB of each descendant of a process that is part of a stack."""
    parents: dict[int, tuple[int, str, float]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            mb = int((folder / "statm").read_text().split()[1]) * _PAGE_BYTES / 2**20
            parents[int(folder.name)] = (int(stat[1]), command, mb)
    for child, (parent, command, mb) in parents.items():
        if parent == pid and (role := _role(command)):
            yield role, mb
            inner = [mb for _, (above, _, mb) in parents.items() if above == child]
            if inner:
                yield f"{role} children", sum(inner)


def _role(command: str) -> str:
    names: tuple[tuple[str, Callable[[str], bool]], ...] = (
        ("worker", lambda text: "-m worker" in text),
        ("scheduler", lambda text: "-m scheduler" in text),
        ("redis", lambda text: "redis-server" in text),
        ("s3", lambda text: "rclone" in text),
    )
    return next((name for name, holds in names if holds(command)), "")


def main() -> None:
    """Watch, and print the results as JSON."""
    # From the environment, because Redis's address has a password.
    watch = Watch(
        sys.argv[1],
        int(sys.argv[2]),
        redis_url=os.environ["HOSTILE_REDIS_URL"],
        heartbeats=Path(os.environ["HOSTILE_HEARTBEATS"]),
    )
    watch.run()
    print(json.dumps(asdict(watch.seen)))


if __name__ == "__main__":
    main()
