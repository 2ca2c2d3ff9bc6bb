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


def test_a_worker_exits_at_once_with_its_code_and_its_last_log_line() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (7, "WARNING:root:the last line\n", "")


START = """
import os, sys
from worker import __main__ as program
assert "torch" not in sys.modules
class Torch:
    def find_spec(self, name, *_):
        if name == "torch":
            print(os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"], os.environ["LRU_CACHE_CAPACITY"])
            sys.exit(0)
sys.meta_path.insert(0, Torch())
program.main()
"""


def test_a_worker_limits_the_kernel_caches_before_torch_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "128 128\n"), done.stderr
