"""The processor time and the memory of processes, as Linux reports them."""

import os
from pathlib import Path


def cpu_s(pid: int) -> float:
    """Return the processor time that a process and its living children have used, in seconds."""
    return sum(_own_cpu_s(each) for each in (pid, *children(pid)))


def resident_bytes(pid: int) -> int:
    """Return the memory that a process uses, without its children."""
    return _status_kib(pid, "VmRSS") << 10


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process used since the last call, or since its start."""
    peak = _status_kib(pid, "VmHWM") << 10
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak


def children(pid: int) -> list[int]:
    """Return the living children of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def _own_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status_kib(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
