"""`python -m tests.benchmarks.memory [WORDS…]`: the memory that work needs, next to the estimates.

Each case runs in a separate process. Printed is its peak memory (VmHWM), less its memory before the work.
With words, only cases whose name has one of them.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from math import isqrt
from pathlib import Path
from typing import Any

from nst_core.gatys import costs as gatys_costs
from nst_core.gatys.config import GatysConfig
from nst_core.gatys.presets import PRESETS
from nst_core.nets import costs
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.system.memory import bound_kernels, keep_freed_memory, memory_for
from nst_core.training import costs as training_costs
from nst_core.training.config import TrainConfig

STYLIZE: dict[str, tuple[dict[str, Any], int]] = {
    f"stylize {name}, {mp} MP": (config, round(mp * 1e6))
    for name, config, mp in (
        ("width 8", {"width": 8}, 1.0),
        ("width 32", {}, 0.25),
        ("width 32", {}, 1.0),
        ("width 32", {}, 3.0),
        ("width 128", {"width": 128}, 0.25),
        ("width 256, no blocks", {"width": 256, "blocks": 0}, 0.1),
        ("width 32, zero padding", {"padding": "zero"}, 1.0),
        ("width 32, batch norm, transposed", {"norm": "batch", "upsample": "transposed", "padding": "same"}, 1.0),
    )
}
TRAIN: dict[str, dict[str, Any]] = {
    "train 2 x 256 px": {"batch_size": 2},
    "train 4 x 256 px": {"batch_size": 4},
    "train 2 x 512 px": {"batch_size": 2, "size_px": 512},
    "train 2 x 256 px, width 64, 10 blocks": {"batch_size": 2, "transformer": {"width": 64, "blocks": 10}},
    "train 1 x 512 px, stability": {"batch_size": 1, "size_px": 512, "stability_weight": 1.0},
    "train 1 x 64 px, style 4096 px": {"batch_size": 1, "size_px": 64, "style_size_px": 4096},
}
OPTIMIZE: dict[str, tuple[str, int]] = {
    f"optimize {name}, {size} px": (name, size)
    for name, size in (
        *((name, 384) for name in PRESETS),
        *((name, 768) for name in ("gatys2016", "risser2017", "liwand2016")),
        ("gatys2016", 1536),
        *((name, 2000) for name in ("gatys2016", "risser2017", "pytorch_tutorial")),
        ("gatys2016", 3000),
    )
}
#: Steps of an optimisation.
_STEPS = 3


def main(words: list[str]) -> None:
    """Measure each case and print a table in Markdown."""
    print("| work | estimated, MiB | measured, MiB | measured / estimated |\n|---|---|---|---|")
    for name in (*STYLIZE, *TRAIN, *OPTIMIZE):
        if words and not any(word in name for word in words):
            continue
        command = [sys.executable, "-m", "tests.benchmarks.memory", "--case", name]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        estimate, measured = json.loads(done.stdout.splitlines()[-1])
        print(f"| {name} | {estimate >> 20:,} | {measured >> 20:,} | {measured / estimate:.2f} |", flush=True)


def case(name: str) -> tuple[int, int]:
    """Return the estimate for a case and the memory that it needs, both in bytes. Run this in a fresh process."""
    bound_kernels()
    keep_freed_memory()
    work: Callable[[], object]
    if name in STYLIZE:
        estimate, work = _stylize(*STYLIZE[name])
    elif name in TRAIN:
        estimate, work = _train(TRAIN[name])
    else:
        estimate, work = _optimize(*OPTIMIZE[name])
    before = status_bytes("VmRSS")
    with memory_for(estimate if name in STYLIZE else 0):
        work()
    return estimate, status_bytes("VmHWM") - before


def _stylize(values: dict[str, Any], pixels: int) -> tuple[int, Callable[[], object]]:
    import numpy as np

    from nst_core.inference.eager import EagerStylizer
    from nst_core.nets.transformer import TransformerNet

    config = TransformerConfig.from_dict(values)
    height = round((pixels * 3 / 4) ** 0.5)
    photo = np.random.default_rng(0).integers(0, 256, (1, height, pixels // height, 3), np.uint8)
    _warm_up()
    return costs.stylize_bytes(config, pixels), lambda: EagerStylizer(TransformerNet(config))(photo)


def _train(values: dict[str, Any]) -> tuple[int, Callable[[], object]]:
    import torch

    from nst_core.nets.loss_network import load_loss_network
    from nst_core.nets.transformer import TransformerNet
    from nst_core.training.objective import PerceptualObjective

    config = TrainConfig.from_dict(values)
    network = load_loss_network(config.layers).to(memory_format=torch.channels_last)
    net = TransformerNet(config.transformer).to(memory_format=torch.channels_last)
    photos = torch.rand(config.batch_size, 3, config.size_px, config.size_px)
    noise = 0.1 * photos if config.stability_weight else None
    _warm_up()

    def work() -> None:
        style = torch.rand(1, 3, config.style_size_px * 2 // 3, config.style_size_px)
        objective = PerceptualObjective(config, net, network, style)
        optimizer = torch.optim.Adam(net.parameters())
        for _ in range(2):
            optimizer.zero_grad()
            torch.autograd.backward(objective(photos, noise).sum())
            optimizer.step()
        side = isqrt(training_costs.SAMPLE_PIXELS)
        with torch.inference_mode():
            net(torch.rand(1, 3, side, side))

    return training_costs.training_bytes(config), work


def _optimize(name: str, size_px: int) -> tuple[int, Callable[[], object]]:
    from dataclasses import replace

    import torch

    from nst_core.gatys.optimizer import GatysOptimizer, StyleSource

    # As many pairs as there are steps, all of which are kept.
    config: GatysConfig = replace(PRESETS[name], size_px=size_px, scales=1, network="vgg16", history=_STEPS)
    content, style = torch.rand(1, 3, size_px * 3 // 4, size_px), torch.rand(1, 3, size_px * 3 // 4, size_px)
    plan = gatys_costs.plan(config, content[0, 0].numel(), gatys_costs.DEFAULT_MAX_BYTES)
    _warm_up()

    def work() -> None:
        sources = [StyleSource(image=style)]
        cpu = torch.device("cpu")
        optimizer = GatysOptimizer(config, content=content, styles=sources, device=cpu, precision="fp32")
        for _ in range(_STEPS):
            began = time.monotonic()
            optimizer.step()
            print(plan, f"{time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)

    return gatys_costs.optimize_bytes(config, content[0, 0].numel(), plan), work


def _warm_up() -> None:
    """Load what torch loads at its first convolution."""
    import torch

    torch.nn.Conv2d(3, 8, 3)(torch.rand(2, 3, 64, 64)).sum().backward()


def status_bytes(name: str) -> int:
    """Return a number of bytes from the system's description of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.memory", description=__doc__)
    parser.add_argument("words", metavar="WORD", nargs="*", help="measure only cases whose name has one of these")
    parser.add_argument("--case", help="measure one case in this process")
    arguments = parser.parse_args()
    if arguments.case is not None:
        print(json.dumps(case(arguments.case)))
    else:
        main(arguments.words)
