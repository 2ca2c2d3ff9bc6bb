"""Checks of what computes gradients: a training that is killed and continued, and an optimisation of a picture."""

import signal
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

from nst_core import images
from nst_core.gatys.optimizer import GatysOptimizer, Iterate, StyleSource
from nst_core.gatys.presets import preset
from nst_core.nets.tensors import to_tensor
from nst_core.nets.transformer import TransformerConfig
from nst_core.system.devices import TrainingPrecision, bf16_pays
from nst_core.training import photos as training_photos
from nst_core.training.config import TrainConfig
from nst_core.training.trainer import Trainer
from tests.gpu.ground import Ground, expect, loss_network, photo

ROOT = Path(__file__).parents[2]
CHECKPOINT = "checkpoint.safetensors"
#: Steps of a training, and after how many it is killed.
STEPS, KILLED_AFTER = 8, 4
#: How far losses may be apart as a share: those of the same weights, and those of steps after them, whose gradients
#: a GPU adds in another order each time.
_SAME, _NEAR = 1e-4, 0.02


class MadePhotos:
    """Synthetic training photos, as PNG files in memory."""

    def __init__(self, count: int, side: int) -> None:
        self.names = [f"{number}.png" for number in range(count)]
        self._side = side

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        out = BytesIO()
        Image.fromarray(photo(self._side, self._side, seed=int(Path(name).stem))).save(out, "PNG")
        return out.getvalue()


def trainer(device: torch.device, *, quick: bool, precision: TrainingPrecision = "fp32") -> Trainer:
    """Return a training of a usual network, or of a tiny one; not compiled, since that takes a minute."""
    # The photos are our own: no other process has to read them.
    training_photos.decode = images.decode  # type: ignore[assignment,attr-defined]
    # Without a warm-up, so that some steps change the losses.
    config = TrainConfig(steps=STEPS, batch_size=4, size_px=256, warmup_steps=0)
    if quick:
        layers = {"relu1_2": 1e-3, "relu2_1": 1e-3}
        small = TransformerConfig(width=4, blocks=1)
        config = replace(config, transformer=small, content_layer="relu1_2", style_weights=layers)
        config = replace(config, batch_size=2, size_px=32, style_size_px=48)
    return Trainer(
        config,
        network=loss_network(config.layers),
        style=to_tensor(photo(config.style_size_px, config.style_size_px, seed=99)),
        photos=MadePhotos(8, 2 * config.size_px),
        device=device,
        precision=precision,
        compiled=False,
    )


def killed_training(ground: Ground) -> str:
    """A training whose process is killed continues from its last checkpoint and comes to the same losses."""
    whole = trainer(ground.device, quick=ground.quick)
    expected = [whole.step().total for _ in range(STEPS)]
    whole.close()
    path = ground.folder / CHECKPOINT
    _kill_after(KILLED_AFTER, ground)
    rest = trainer(ground.device, quick=ground.quick)
    rest.load(path)
    first = rest.step_number
    expect(KILLED_AFTER <= first < STEPS, f"the checkpoint is of step {first}")
    losses = [rest.step().total for _ in range(first, STEPS)]
    rest.close()
    apart = [abs(loss / right - 1) for loss, right in zip(losses, expected[first:], strict=True)]
    expect(apart[0] <= _SAME, f"the loss after {first} steps is {apart[0]:.2e} away from that without a kill")
    expect(apart[-1] <= _NEAR, f"the last loss is {apart[-1]:.2e} away from that without a kill")
    expect(abs(expected[0] / expected[-1] - 1) > _NEAR, "the losses hardly change, so that this says nothing")
    return f"killed after step {first} of {STEPS}, the last loss is {apart[-1]:.1e} away"


def _kill_after(steps: int, ground: Ground) -> None:
    """Run a training in another process, and kill it while it makes the step after these."""
    command = [sys.executable, "-m", "tests.gpu.child", str(ground.device), str(ground.folder)]
    if ground.quick:
        command.append("--quick")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == f"{steps}\n":
                process.kill()
                break
    expect(process.returncode == -signal.SIGKILL, f"the training ended by itself, with {process.returncode}")


def narrow_training(ground: Ground) -> str:
    """A training in bfloat16 begins at the losses of one in float32 and lowers them."""
    exact, narrow = (trainer(ground.device, quick=ground.quick, precision=each) for each in ("fp32", "bf16"))
    right, losses = exact.step().total, [narrow.step().total for _ in range(STEPS)]
    exact.close()
    narrow.close()
    apart = abs(losses[0] / right - 1)
    expect(apart <= _NEAR, f"its first loss is {apart:.2e} away")
    expect(losses[-1] < losses[0], f"losses rose from {losses[0]:g} to {losses[-1]:g}")
    pays = "pays" if bf16_pays(ground.device) else "does not pay"
    return f"{apart:.1e} away from float32; bfloat16 {pays} here"


def optimisation(ground: Ground) -> str:
    """An optimisation begins at the losses of one on the CPU, lowers them, and continues from its state."""
    config = preset("gatys2016", size_px=ground.pick(320, 32), iterations=ground.pick(60, 4))
    on_cpu = _optimizer(ground, torch.device("cpu")).step()
    optimizer = _optimizer(ground, ground.device)
    iterates: list[Iterate] = [optimizer.step()]
    apart = abs(iterates[0].total / on_cpu.total - 1)
    expect(apart <= _NEAR, f"its first loss is {apart:.2e} away from the CPU's")
    while not optimizer.done:
        if optimizer.iteration == config.iterations // 2:
            state, optimizer = optimizer.state(), _optimizer(ground, ground.device)
            optimizer.restore(state)
        iterates.append(optimizer.step())
    expect(len(iterates) == config.iterations, f"there were {len(iterates)} iterations")
    expect(iterates[-1].total < 0.7 * iterates[0].total, f"{iterates[0].total:g} became {iterates[-1].total:g} only")
    picture = optimizer.result()
    expect(bool(picture.isfinite().all()), "the picture has values that are no numbers")
    return f"{iterates[0].total:.3g} became {iterates[-1].total:.3g} in {config.iterations} iterations"


def _optimizer(ground: Ground, device: torch.device) -> GatysOptimizer:
    config = preset("gatys2016", size_px=ground.pick(320, 32), iterations=ground.pick(60, 4))
    side = ground.pick(320, 32)
    return GatysOptimizer(
        config,
        content=to_tensor(photo(side, side)),
        styles=[StyleSource(image=to_tensor(photo(side, side, seed=99)))],
        device=device,
        network=loss_network(config.layers, name=config.network, pooling=config.pooling, scale=config.feature_scale),
        precision="fp32",
    )
