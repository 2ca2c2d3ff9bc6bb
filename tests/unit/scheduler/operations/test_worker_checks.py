"""What the probe of a worker says, and how its failures are told. tests/e2e runs the real one."""

import json
import sys

from nst_core.extras import install_command
from scheduler.operations.findings import Status
from scheduler.operations.worker_checks import check_worker

VALUES = {"device": "cpu", "processor": "AVX2", "engine": "native", "precision": "fp32", "threads": 2, "kernels": True}


def found(script: str, *, limit_s: float = 60.0) -> list[tuple[str, Status, str | None, str]]:
    findings = check_worker((sys.executable, "-c", script), limit_s=limit_s)
    return [(each.check, each.status, each.code, each.found) for each in findings]


def test_the_engine_and_the_kernels_are_told() -> None:
    assert found(f"print({json.dumps(VALUES)!r})") == [
        ("engine", Status.OK, None, "Workers run styles by native with fp32, on cpu (AVX2), 2 threads."),
        ("kernels", Status.OK, None, "The kernels in C work."),
    ]
    without = found(f"print({json.dumps({**VALUES, 'kernels': False})!r})")
    assert without[1][1:3] == (Status.WARNING, "kernels_missing")


def test_a_probe_that_crashes_names_its_signal() -> None:
    (engine,) = found("import os, signal, sys; print('torch', file=sys.stderr); os.kill(os.getpid(), signal.SIGILL)")
    assert engine == ("engine", Status.PROBLEM, "engine_failed", "No engine could be chosen (SIGILL): torch")


def test_a_probe_that_hangs_is_ended() -> None:
    (engine,) = found("import time; time.sleep(60)", limit_s=0.5)
    assert engine[1:] == (Status.PROBLEM, "engine_failed", "No engine could be chosen within 0.5 s.")


def test_without_torch_both_are_skipped() -> None:
    missing = f"the Python package torch is missing; {install_command('worker')} installs it."
    reason = f"The worker cannot start: {missing}"
    skipped = found(f"import sys; sys.exit({reason!r})")
    assert skipped == [("engine", Status.SKIPPED, None, reason), ("kernels", Status.SKIPPED, None, reason)]
