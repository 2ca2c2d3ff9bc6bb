"""What a benchmark ran on."""

import os
import platform
from pathlib import Path


def describe() -> str:
    """Return one line about the machine and the versions that decide the speed."""
    import torch

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    flags = "AVX-512" if "avx512f" in (cpuinfo.read_text() if cpuinfo.exists() else "") else "no AVX-512"
    return (
        f"{os.cpu_count()} x {model} ({flags}), Python {platform.python_version()}, torch {torch.__version__}, "
        f"load {os.getloadavg()[0]:.1f}"
    )
