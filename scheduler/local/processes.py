"""Child processes, each with its own session and log file, which end when their parent ends."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

#: A log file above this size is renamed when its process starts.
MAX_LOG_BYTES = 16 * 2**20

# Runs between fork and the real command. It is a program, because code between fork and exec is not safe with threads.
# PR_SET_PDEATHSIG (1) makes the kernel kill the process when the thread that started it ends; that thread may have
# ended before, which is why the parent is compared too.
_LAUNCHER = """\
import ctypes, os, signal, sys
parent, command = int(sys.argv[1]), sys.argv[2:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
if os.getppid() != parent:
    sys.exit("the parent process has ended")
os.execv(command[0], command)
"""


class Child:
    """A child process, with the processes that it started itself."""

    def __init__(self, name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        """Start `command`, whose first word is a path. Its output is appended to `log`.

        The process ends when the calling thread ends.
        """
        self.name = name
        self.log = log
        self._lock = threading.Lock()
        self._code: int | None = None
        if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
            log.replace(log.with_name(log.name + ".1"))
        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command],
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its process group."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return None while the process runs, then its exit code, negative for a signal."""
        with self._lock:
            if self._code is None:
                self._code = self._process.poll()
                if self._code is not None:
                    # Its children still hold the id of the group, so no other process can get this signal.
                    self._signal_group(signal.SIGKILL)
            return self._code

    def terminate(self) -> None:
        """Ask the process to end; it must end its own children."""
        if self.poll() is None:
            self._process.terminate()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and its group, if it runs."""
        if self.poll() is None:
            self._signal_group(number)

    def log_end(self, lines: int = 5) -> str:
        """Return the last lines of the log."""
        with open(self.log, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])

    def _signal_group(self, number: signal.Signals) -> None:
        # ProcessLookupError: the last process has just ended. PermissionError: macOS raises it for zombies.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def describe_exit(code: int) -> str:
    """Return how a process ended, such as `exit code 1` or `SIGKILL`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
