"""Commands that run nst on this machine."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def test_up_logs_json_lines_and_no_key_instead_of_words_for_people(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scheduler.cli", "--home", str(tmp_path), "up"]
    env = {**os.environ, "NST_LOG_FORMAT": "json"}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            lines: list[dict[str, Any]] = []
            while "listens on http://127.0.0.1:" not in (lines[-1]["message"] if lines else ""):
                lines.append(json.loads(process.stderr.readline()))
            second = subprocess.run(command, env=env, capture_output=True, text=True)
            process.terminate()
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    lines += map(json.loads, err.splitlines())
    assert process.returncode == 0
    assert out == second.stdout == ""
    assert {"redis ready", "scheduler ready", "scheduler stopping"} <= {line["message"] for line in lines}
    assert {line["role"] for line in lines} == {"up"}
    assert (tmp_path / "api_key").read_text().strip() not in json.dumps(lines)
    (refused,) = map(json.loads, second.stderr.splitlines())
    assert (refused["level"], second.returncode) == ("CRITICAL", 1)
    assert refused["message"].endswith("(home_locked)")


def test_a_bootstrap_key_is_new_each_time(nst: Run) -> None:
    keys = {nst("bootstrap-key")[1] for _ in range(2)}
    assert len(keys) == 2
    assert all(re.fullmatch(r"nst_[0-9a-f]{8}_\S+\n", key) for key in keys)
