"""`python -m tests.gpu`: check everything that runs on a GPU, and print a table. See the README here."""

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from nst_core.errors import ConfigError
from nst_core.system.devices import exact_float32, resolve_device
from tests.gpu import learning, memory, speed, stylizing
from tests.gpu.ground import Check, CheckFailedError, Ground, NotPossibleError

CHECKS: dict[str, Check] = {
    "the reference engine": stylizing.eager,
    "the probe": stylizing.fastest,
    "pictures in fp32": partial(stylizing.precision, narrow="fp32"),
    "pictures in fp16": partial(stylizing.precision, narrow="fp16"),
    "pictures in bf16": partial(stylizing.precision, narrow="bf16"),
    "overflow of float16": stylizing.overflow,
    "memory formats": stylizing.memory_format,
    "mixed sizes": stylizing.mixed_sizes,
    "threads": stylizing.threads,
    "a large photo": stylizing.large,
    "strips": stylizing.strips,
    "a huge photo": stylizing.huge,
    "too little memory": memory.too_little,
    "fewer at once": memory.fewer_at_once,
    "many sizes": memory.many_sizes,
    "a killed training": learning.killed_training,
    "training in bfloat16": learning.narrow_training,
    "an optimisation": learning.optimisation,
    "speed": speed.images_per_second,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks; return 0 if none failed, 1 if one did, 2 if there is no such device."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description="Check everything that runs on a GPU.")
    parser.add_argument("--device", default="cuda", help="cuda (default), cuda:1, or cpu to test the checks")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to test the checks")
    parser.add_argument("--only", metavar="TEXT", default="", help="only checks whose name contains this")
    options = parser.parse_args(arguments)
    try:
        device = resolve_device(options.device)
    except ConfigError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return 2
    exact_float32()
    print(describe(device), flush=True)
    with tempfile.TemporaryDirectory(prefix="nst-gpu-") as folder:
        ground = Ground(device=device, quick=options.quick, folder=Path(folder))
        started = time.monotonic()
        results = [run(name, check, ground) for name, check in CHECKS.items() if options.only in name]
    failed, skipped = results.count("FAIL"), results.count("SKIP")
    print("\n" + "\n\n".join(ground.notes))
    print(f"\n{len(results)} checks, {failed} failed, {skipped} skipped, {time.monotonic() - started:.0f} s")
    return 1 if failed else 0


def run(name: str, check: Check, ground: Ground) -> str:
    """Run one check, print its line, and return its result."""
    started = time.monotonic()
    try:
        result, said = "PASS", check(ground)
    except NotPossibleError as error:
        result, said = "SKIP", str(error)
    except CheckFailedError as error:
        result, said = "FAIL", str(error)
    except Exception as error:  # noqa: BLE001 - an error of one check is a result too, and the others run on
        result, said = "FAIL", f"{type(error).__name__}: {error}".partition("\n")[0]
    print(f"{result}  {name:22}  {time.monotonic() - started:6.1f} s  {said}", flush=True)
    return result


def describe(device: torch.device) -> str:
    """Return what the checks run on: the card, and the versions that matter."""
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    if device.type != "cuda":
        return f"{platform.machine()} without a GPU, {versions}"
    card = torch.cuda.get_device_properties(device)
    return (
        f"{card.name}, {card.total_memory >> 20:,} MiB, {card.multi_processor_count} multiprocessors, "
        f"capability {card.major}.{card.minor}, {versions}, CUDA {torch.version.cuda}, "
        f"cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]
    )


if __name__ == "__main__":
    sys.exit(main())
