"""How the server of the API ends: by itself after a signal, at once after a second one."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import asyncio, signal, sys
from types import SimpleNamespace
import uvicorn
from nst_core.system.heartbeat import Heartbeat
from scheduler.server import Server, listen

async def app(scope, receive, send):
    pass

hub = SimpleNamespace(stop=lambda: print("streams are ended", flush=True))
server = Server(uvicorn.Config(app, lifespan="off", log_level="warning"), hub, Heartbeat(None))
with server.taking_signals():
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.{name}))
    server.run(sockets=[listen("127.0.0.1", 0)])
    print("the rest is ended", flush=True)
    if {twice}:
        signal.raise_signal(signal.SIGTERM)
        print("never reached", flush=True)
"""


@pytest.mark.parametrize(
    ("name", "twice", "code"), [("SIGTERM", False, 0), ("SIGINT", False, 0), ("SIGTERM", True, 128 + signal.SIGTERM)]
)
def test_the_process_ends_in_order_after_one_signal_and_at_once_after_two(name: str, twice: bool, code: int) -> None:
    script = textwrap.dedent(SCRIPT).format(name=name, twice=twice)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("streams are ended\nthe rest is ended\n", "")
    assert done.returncode == code
