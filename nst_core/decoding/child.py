"""The parent's side of a child process that decodes images; `process` describes the protocol."""

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nst_core.decoding.process import FORGET, GO, HEAD
from nst_core.errors import EngineError

_ROOT = str(Path(__file__).parents[2])
# Appended, so that no module of the standard library is shadowed, and without the current folder.
_CODE = (
    f"import sys; sys.path.append({_ROOT!r}); from nst_core.system.logs import configure; configure('decoder');"
    " from nst_core.decoding.process import main; sys.exit(main(sys.argv[1:]))"
)
#: Environment variables that a child gets; none of them holds credentials.
_ENVIRONMENT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH"),
    "NST_LOG_FORMAT",
)
#: Freed memory that glibc keeps for the next image: mapping it anew costs more than decoding a small JPEG.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
#: The most bytes of JSON in an answer.
_MAX_TEXT = 1 << 20
#: The limit of elapsed time is this many times that of processor time, because the machine may be busy.
_PATIENCE = 5
_START_S = 120.0
#: Linux allows everyone pipes of this size; the default of 64 KiB needs a context switch for every piece.
_PIPE_BYTES = 1 << 20


class ChildDiedError(Exception):
    """The child ended before it answered."""


class StarvedError(ChildDiedError):
    """The child did not answer in time, although it had processor time left; the image is hardly to blame."""


class OutOfTimeError(Exception):
    """The child exceeded the limit of processor time of an image."""


class Child:
    """A child process. Only one thread at a time may use it."""

    def __init__(self, *, memory_bytes: int, seconds: int) -> None:
        """Start the process with its limits for one image; raise EngineError if that fails."""
        self._seconds = seconds
        self._deadline = time.monotonic() + _START_S
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        # Threads of OpenBLAS would take address space, and images need no linear algebra.
        environment |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"} | _MALLOC
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CODE, str(memory_bytes), str(seconds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                env=environment,
                # Ctrl-C in a terminal is meant for the parent, which may want to complete its images.
                start_new_session=True,
            )
        except OSError as error:
            raise EngineError(f"The process that reads images cannot be started: {error.strerror}.") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        for pipe in (self._in, self._out):
            os.set_blocking(pipe, False)
            _enlarge(pipe)
        #: Whether the process waits for a request.
        self.is_ready = False
        try:
            self._answer()
        except (ChildDiedError, OutOfTimeError) as error:
            self.end()
            raise EngineError("The process that reads images ended during its start.") from error
        self.is_ready = True

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._process.pid

    def request(self, arguments: dict[str, int | None], data: bytes) -> dict[str, Any]:
        """Send a file and return the first answer: the memory that decoding takes and the pixels, or an error."""
        self.is_ready = False
        self._deadline = time.monotonic() + _PATIENCE * self._seconds
        text = json.dumps(arguments).encode()
        self._write(HEAD.pack(len(text), len(data)) + text)
        self._write(data)
        return self._last_answer()

    def proceed(self) -> dict[str, Any]:
        """Let the child decode and return its answer. Read the pixels next, then call `done`."""
        self._deadline = time.monotonic() + _PATIENCE * self._seconds
        self._write(GO)
        return self._last_answer()

    def forget(self) -> None:
        """Let the child forget the request instead, and wait for the next one."""
        self._write(FORGET)
        self.is_ready = True

    def read_into(self, array: npt.NDArray[np.uint8]) -> None:
        """Read an array's bytes."""
        self._read(array.data.cast("B"))

    def done(self) -> None:
        """Record that the whole answer was read."""
        self.is_ready = True

    def end(self) -> None:
        """Kill the child if it is still alive, and release its resources."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _last_answer(self) -> dict[str, Any]:
        answer = self._answer()
        # After an error, the child waits for the next request.
        self.is_ready = "error" in answer
        return answer

    def _answer(self) -> dict[str, Any]:
        """Read the JSON of an answer; its other bytes are for the caller to read."""
        head = bytearray(HEAD.size)
        self._read(memoryview(head))
        size, _ = HEAD.unpack(head)
        if size > _MAX_TEXT:
            raise ChildDiedError("its answer is invalid")
        text = bytearray(size)
        self._read(memoryview(text))
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise ChildDiedError("its answer is invalid") from error
        return answer if isinstance(answer, dict) else {}

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._in, rest) :]
            except BlockingIOError:
                self._wait(self._in, select.POLLOUT)
            except BrokenPipeError:
                raise self._death() from None

    def _read(self, rest: memoryview) -> None:
        while rest:
            try:
                count = os.readv(self._out, [rest])
            except BlockingIOError:
                self._wait(self._out, select.POLLIN)
                continue
            if not count:
                raise self._death()
            rest = rest[count:]

    def _wait(self, file: int, event: int) -> None:
        """Wait until a pipe can be used; raise StarvedError after the deadline.

        By then a child that computes has long ended, because of its limit of processor time. One that has not was
        stopped, as a suspended or frozen machine does it, waited for a processor, or hangs.
        """
        poll = select.poll()
        poll.register(file, event)
        left = self._deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise StarvedError("no answer in time")

    def _death(self) -> Exception:
        """Return the error that describes the end of the child."""
        try:
            code = self._process.wait(timeout=_START_S)
        except subprocess.TimeoutExpired:
            return ChildDiedError("it closed its output")
        if code == -signal.SIGXCPU:
            return OutOfTimeError()
        return ChildDiedError(f"exit code {code}")


def _enlarge(pipe: int) -> None:
    # Refused if the user has many large pipes already; the default size is slower but works.
    with suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
