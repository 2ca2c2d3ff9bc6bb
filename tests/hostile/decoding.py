"""The product's decoder with hostile files, in a process that is monitored from outside."""

import multiprocessing
import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from nst_core.decoding.decoder import decode
from nst_core.errors import NstError
from tests.hostile.files import HostileFile

#: A decoder that is silent for this long counts as hung.
HUNG_S = 60.0
_BEAT_S = 0.01


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result for a file."""

    name: str
    #: The stable code of the error, `ok` for a picture, `crashed`, `hung`, or `escaped:` and an unexpected error.
    code: str
    cpu_s: float = 0.0
    #: The longest time in which no other thread of the process could run.
    silent_s: float = 0.0
    #: The largest growth of the process's memory.
    grown_mb: float = 0.0

    @property
    def is_good(self) -> bool:
        """Whether this result is allowed for a bad file."""
        return not self.code.startswith(("crashed", "hung", "escaped"))


def try_files(files: Iterable[HostileFile], *, take: Callable[[bytes], object] = decode) -> Iterator[Verdict]:
    """Yield the result for each file. A process that died or hung is replaced. `take` must be importable by name."""
    child: _Child | None = None
    try:
        for file in files:
            child = child or _Child(take)
            verdict = child.ask(file)
            if not verdict.is_good:
                child.kill()
                child = None
            yield verdict
    finally:
        if child is not None:
            child.kill()


class _Child:
    def __init__(self, take: Callable[[bytes], object]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, take), daemon=False)
        self._process.start()
        theirs.close()
        assert self._pipe.poll(HUNG_S), "the decoder does not start"
        self._pipe.recv()

    def ask(self, file: HostileFile) -> Verdict:
        try:
            self._pipe.send(file)
            if not self._pipe.poll(HUNG_S):
                return Verdict(name=file.name, code="hung", silent_s=HUNG_S)
            verdict = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(10)
            return Verdict(name=file.name, code=f"crashed:{self._process.exitcode}")
        assert isinstance(verdict, Verdict)
        return verdict

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, take: Callable[[bytes], object]) -> None:
    beat = _Beat()
    pipe.send(None)
    while True:
        try:
            file: HostileFile = pipe.recv()
        except EOFError:
            return
        pipe.send(_judge(file, take, beat))


def _judge(file: HostileFile, take: Callable[[bytes], object], beat: "_Beat") -> Verdict:
    before = _reset_peak_mb()
    beat.longest = 0.0
    started, code = _cpu_s(), "ok"
    try:
        take(file.data)
    except NstError as error:
        code = error.code
    except Exception as error:  # noqa: BLE001  # what is looked for
        code = f"escaped:{type(error).__name__}: {error}"
    cpu_s = _cpu_s() - started
    time.sleep(2 * _BEAT_S)  # time for the beat to see its gap
    grown = _status_mb("VmHWM") - before
    return Verdict(name=file.name, code=code, cpu_s=cpu_s, silent_s=beat.longest, grown_mb=grown)


class _Beat:
    """A thread that measures how long it cannot run."""

    def __init__(self) -> None:
        self.longest = 0.0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(_BEAT_S)
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last - _BEAT_S), now


def _cpu_s() -> float:
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in usage)


def _reset_peak_mb() -> float:
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    return _status_mb("VmRSS")


def _status_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024
