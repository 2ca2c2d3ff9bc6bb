"""What the checks share: the device, sizes, synthetic photos and results of the reference on the CPU."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from nst_core.inference.eager import EagerStylizer
from nst_core.inference.stylizer import Pixels
from nst_core.nets.loss_network import LossNetwork, Pooling, load_trained, random_loss_network
from nst_core.styles import ShippedStyle, shipped_styles

#: How close pictures of narrow numbers must come to those of float32.
LEAST_DB = 45.0


class CheckFailedError(Exception):
    """The product does not do what it promises; the message has the numbers."""


class NotPossibleError(Exception):
    """The check needs something that this machine does not have."""


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The machine, and how large the work is."""

    device: torch.device
    #: Tiny sizes, so that the checks themselves can be tested on a CPU.
    quick: bool
    #: A folder for files of the checks.
    folder: Path
    #: What a check prints besides its result, such as a table.
    notes: list[str] = field(default_factory=list)

    def pick(self, usual: int, quick: int) -> int:
        """Return the number for this run."""
        return quick if self.quick else usual

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU, not the CPU that stands for it in a test of the checks."""
        return self.device.type == "cuda"

    def styles(self) -> list[ShippedStyle]:
        """Return the styles to try."""
        return shipped_styles()[: self.pick(100, 1)]


#: A check returns one sentence with what it measured.
Check = Callable[[Ground], str]


def expect(condition: bool, message: str) -> None:
    """Raise CheckFailedError with a message unless the condition holds."""
    if not condition:
        raise CheckFailedError(message)


def photo(height: int, width: int, *, seed: int = 0) -> Pixels:
    """Return a photo like a natural one, H x W x 3: smooth shapes of all sizes, edges and a little noise."""
    random = np.random.default_rng((seed, height, width))
    picture = np.zeros((height, width, 3), np.float32)
    for octave in range(5):
        blobs = random.integers(0, 256, (2 + 2**octave, 3 + 2**octave, 3), dtype=np.uint8)
        smooth = Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC)
        picture += np.asarray(smooth, np.float32) / 2**octave
    shown = Image.fromarray((picture * (255 / picture.max())).astype(np.uint8))
    draw = ImageDraw.Draw(shown)
    for _ in range(12):
        corners = [(int(x * width), int(y * height)) for x, y in random.random((3, 2))]
        colour = tuple(random.integers(0, 256, 3).tolist())
        draw.polygon(corners, fill=(colour[0], colour[1], colour[2]))
    noise = random.normal(0, 3, (height, width, 3))
    result: Pixels = np.clip(np.asarray(shown) + noise, 0, 255).astype(np.uint8)
    return result


def photos(count: int, height: int, width: int) -> Pixels:
    """Return a batch of different photos."""
    return np.stack([photo(height, width, seed=number) for number in range(count)])


def reference(style: ShippedStyle, batch: Pixels) -> Pixels:
    """Return what the reference engine makes of a batch on the CPU."""
    return EagerStylizer.load(style.weights())(batch)


def farthest(result: Pixels, expected: Pixels) -> int:
    """Return the largest difference of two pictures, 0 to 255."""
    return int(np.abs(result.astype(np.int16) - expected).max())


def psnr_db(result: Pixels, expected: Pixels) -> float:
    """Return the peak signal-to-noise ratio of two pictures in dB."""
    error: npt.NDArray[np.float32] = np.subtract(result, expected, dtype=np.float32)
    return float(10 * np.log10(255**2 / max(float(np.square(error).mean(dtype=np.float64)), 1e-9)))


@dataclass(frozen=True)
class _Bundled:
    """The settings of loss networks without variables of the environment."""

    loss_weights: Path | None = None
    loss_weights_url: str = "http://localhost"


def loss_network(
    layers: Sequence[str], *, name: str = "vgg16", pooling: Pooling = "max", scale: float = 1.0
) -> LossNetwork:
    """Return a loss network with its bundled weights."""
    network = random_loss_network(layers, name=name, pooling=pooling)
    load_trained(network, scale=scale, settings=_Bundled())
    return network
