"""What a benchmark ran on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

#: Abilities that decide the speed of networks, and their flags in /proc/cpuinfo.
_ABILITIES = {"AVX2": "avx2", "AVX-512": "avx512f", "AVX-512-BF16": "avx512_bf16", "AMX": "amx_tile"}


def describe() -> str:
    """Return one line about the machine and the versions that decide the speed."""
    return (
        f"{os.cpu_count()} x {_processor()}, Python {platform.python_version()}, torch {version('torch')}, "
        f"openvino {version('openvino')}, load {os.getloadavg()[0]:.1f}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        return platform.processor() or platform.machine()
    about = dict(line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
    values = {name.strip(): value.strip() for name, value in about.items()}
    flags = values.get("flags", "").split()
    abilities = [name if flag in flags else f"no {name}" for name, flag in _ABILITIES.items()]
    return f"{values.get('model name', platform.machine())} ({', '.join(abilities)})"
