"""Checks what a worker computes with, which a process of its own finds out: it loads torch, and may crash."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

from scheduler.local.processes import describe_exit
from scheduler.operations.findings import Finding, ok, problem, skipped, warning

COMMAND = (sys.executable, "-P", "-m", "worker", "--probe")


def check_worker(command: tuple[str, ...] = COMMAND, *, limit_s: float) -> Iterator[Finding]:
    """Yield the findings about the engine for photos and the kernels in C."""
    remedy = "Correct NST_DEVICE, NST_ENGINE and NST_PRECISION, or install torch and drivers for this machine."
    env = {**os.environ, "NST_LOG_FORMAT": "text"}
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, errors="replace", timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        yield problem("engine", "engine_failed", f"No engine could be chosen within {limit_s:g} s.", remedy)
        return
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["It printed nothing."]
        if "Python package" in lines[-1]:
            yield skipped("engine", lines[-1])
            yield skipped("kernels", lines[-1])
            return
        found = f"No engine could be chosen ({describe_exit(done.returncode)}): {lines[-1]}"
        yield problem("engine", "engine_failed", found, remedy)
        return
    values = json.loads(done.stdout.splitlines()[-1])
    computes = f"{values['engine']} with {values['precision']}, on {values['device']} ({values['processor']})"
    yield ok("engine", f"Workers run styles by {computes}, {values['threads']} threads.")
    if values["kernels"]:
        yield ok("kernels", "The kernels in C work.")
    else:
        found = "The kernels in C could not be compiled or loaded; photos and trainings are slower without."
        remedy = "Install gcc, and let the folder NST_CACHE_DIR or /tmp be without the mount option noexec."
        yield warning("kernels", "kernels_missing", found, remedy)
