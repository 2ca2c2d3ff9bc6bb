"""Commands that run nst on this machine."""

import io
import os
import re
import signal

import pytest
from rich.console import Console

from scheduler.cli.commands.local import ServiceLines, how_to_stop, terminable
from scheduler.local.supervisor import ServiceState, StackEvent
from tests.unit.scheduler.cli.conftest import Run


def test_a_background_process_prints_how_to_stop_it() -> None:
    assert how_to_stop().startswith("Press Ctrl-C to stop")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert how_to_stop().startswith(f"Run `kill {os.getpid()}` to stop.")
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_end_of_a_service_is_printed_with_its_reason() -> None:
    file = io.StringIO()
    lines = ServiceLines(Console(file=file, width=200))
    lines(StackEvent(name="worker-1", state=ServiceState.STARTING, detail="pid 7"))
    lines(StackEvent(name="worker-1", state=ServiceState.READY))
    lines(StackEvent(name="worker-1", state=ServiceState.DIED, detail="SIGKILL [x]; restarts in 1 s"))
    for name in ("worker-1", "redis"):
        lines(StackEvent(name=name, state=ServiceState.STOPPING))
    assert file.getvalue().splitlines() == [
        "  ✓ worker-1 ready",
        "  ✗ worker-1 died: SIGKILL [x]; restarts in 1 s",
        "Stopping all processes; workers finish the images that they have started",
    ]


def test_sigterm_interrupts_like_ctrl_c_and_is_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_bootstrap_key_is_new_each_time(nst: Run) -> None:
    keys = {nst("bootstrap-key")[1] for _ in range(2)}
    assert len(keys) == 2
    assert all(re.fullmatch(r"nst_[0-9a-f]{8}_\S+\n", key) for key in keys)
