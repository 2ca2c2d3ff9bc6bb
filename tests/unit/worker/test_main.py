"""Tests of worker.__main__."""

import subprocess
import sys

SCRIPT = """
import atexit, logging, sys
from worker.__main__ import leave
atexit.register(lambda: print("Python's own way out"))
logging.basicConfig(stream=sys.stdout)
logging.warning("the last line")
leave(7)
"""


def test_a_worker_leaves_at_once_with_its_code_and_its_last_line() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (7, "WARNING:root:the last line\n", "")
