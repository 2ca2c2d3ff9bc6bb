"""The extra cost of decoding in a child process instead of the same process.

    python -m tests.benchmarks.decoder

Wall times are the smallest of many, because other programs may run on the machine. Processor times, of parent and child
together, are means, because they hardly depend on other programs.
"""

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from nst_core import images
from nst_core.decoding import decoder

_SIDES_PX = (64, 256, 512, 1024, 4000)
_SECONDS = 3.0


def main() -> None:
    """Print a line for each size of a JPEG file."""
    print(f"{'JPEG':>11} {'in process':>12} {'in a child':>12} {'more':>9} {'more processor time':>20}")
    for side in _SIDES_PX:
        data = _jpeg(side)
        assert (images.decode(data).rgb == decoder.decode(data).rgb).all()
        # Alternately, so that both run under the same conditions.
        calls = [partial(images.decode, data), partial(decoder.decode, data)]
        (own, own_cpu), (child, child_cpu) = _measured(calls)
        line = f"{side:>5}x{side:<5} {own:>9.2f} ms {child:>9.2f} ms {child - own:>6.2f} ms"
        print(f"{line} {child_cpu - own_cpu:>17.2f} ms", flush=True)


def _jpeg(side: int) -> bytes:
    rows, columns = np.mgrid[0:side, 0:side]
    rgb = np.stack([rows * 255 // side, columns * 255 // side, (rows * columns) % 256], axis=2).astype(np.uint8)
    out = BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=90)
    return out.getvalue()


def _measured(calls: Sequence[Callable[[], object]]) -> list[tuple[float, float]]:
    """Return the smallest wall time of each call and its mean processor time, in milliseconds."""
    walls = [float("inf")] * len(calls)
    busy, rounds = [0.0] * len(calls), 0
    end = time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        rounds += 1
        for number, call in enumerate(calls):
            cpu, start = _cpu_ms(), time.perf_counter()
            call()
            walls[number] = min(walls[number], (time.perf_counter() - start) * 1000)
            busy[number] += _cpu_ms() - cpu
    return [(wall, each / rounds) for wall, each in zip(walls, busy, strict=True)]


def _cpu_ms() -> float:
    """Return the processor time of this process and its children so far."""
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    children = [pid for task in tasks for pid in (task / "children").read_text().split()]
    spent = sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in children)
    return time.process_time() * 1000 + spent / 1e6


if __name__ == "__main__":
    main()
