"""The convolutions of a transformer network in our own kernels (`nets/native`), float32, on the CPU.

The results are those of `TransformerNet` up to rounding. A kernel normalises the map that it reads, pads and doubles
it, so that normalised maps, padded ones and doubled ones are never stored. Convolutions of 3 x 3 and stride 1 use
Winograd's algorithm, with a quarter of the products.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nst_core.inference.strips import supports
from nst_core.nets import native
from nst_core.nets.convolution import transformed_kernels
from nst_core.nets.transformer import TransformerConfig, TransformerNet

#: Pixels next to each other that the last convolution makes at once: their 15 channels fill a vector.
_GROUP = 5
#: The values of a vector; there are kernels for multiples of twice as many channels.
_VECTOR = 16
_HEAD = "head"


def suits(config: TransformerConfig) -> bool:
    """Return whether there are kernels for networks of this kind."""
    return supports(config) and config.width % (2 * _VECTOR) == 0


@dataclass(frozen=True, kw_only=True)
class Map:
    """A map as its convolution has left it, height x width x channels, and what normalises it, if anything does."""

    values: Tensor
    height: int
    width: int
    channels: int
    scale: Tensor | None = None
    shift: Tensor | None = None
    relu: bool = False

    @property
    def arguments(self) -> tuple[Tensor | int | None, ...]:
        """What kernels that read the map begin with."""
        return self.values, self.scale, self.shift, int(self.relu)


class Kernels:
    """The weights of a network of a kind that `suits`, as the kernels read them.

    All methods fill `y` with the rows of a result, or as much of it as they need. `above` are the rows of padding
    before the first row that they read; a strip has rows of its neighbour there instead.
    """

    def __init__(self, net: TransformerNet) -> None:
        self._layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d)}
        self._packed = {name: _packed(name, layer) for name, layer in self._layers.items()}

    @property
    def nbytes(self) -> int:
        """The memory that they take, in bytes."""
        return sum(4 * packed.numel() for packed in self._packed.values())

    def channels(self, name: str) -> int:
        """Return the number of channels that a convolution makes."""
        return self._layers[name].out_channels

    def side(self, name: str) -> int:
        """Return the height and the width of the kernels of a convolution."""
        return self._layers[name].kernel_size[0]

    def stride(self, name: str) -> int:
        """Return the rows and columns from what a result of a convolution reads to what the next one does."""
        return self._layers[name].stride[0]

    def convolve(self, x: Map, name: str, y: Tensor, *, rows: int, above: int) -> None:
        """Convolve a map."""
        layer = self._layers[name]
        side, stride, channels = layer.kernel_size[0], layer.stride[0], layer.out_channels
        if (side, stride) == (3, 1):
            sizes = (x.height, x.width, x.channels, 1 - above, rows, channels)
            native.call("convolve_3x3", *x.arguments, 0, self._packed[name], y, *sizes)
            return
        sizes = (x.height, x.width, x.channels, rows, -(-x.width // stride), channels)
        steps = (side, side, stride, stride, above, side // 2)
        native.call("convolve", *x.arguments, self._packed[name], y, *sizes, *steps)

    def convolve_doubled(self, x: Map, name: str, y: Tensor, *, size: tuple[int, int], first: int, rows: int) -> None:
        """Convolve a map after doubling it and cutting it to `size`, from row `first` on."""
        sizes = (*size, x.channels, first, rows, self.channels(name))
        native.call("convolve_3x3", *x.arguments, 1, self._packed[name], y, *sizes)

    def head(self, x: Map, y: Tensor, *, rows: int, above: int) -> int:
        """Make the last convolution, without its bias; return the groups of pixels in a row, 16 values each."""
        groups = _groups(x.width)
        sizes = (x.height, x.width, x.channels, rows, groups, _VECTOR)
        native.call("convolve", *x.arguments, self._packed[_HEAD], y, *sizes, 9, 8 + _GROUP, 1, _GROUP, above, 4)
        return groups

    def head_values(self, width: int) -> int:
        """Return the size of a row of what `head` makes for a map of this width."""
        return _groups(width) * _VECTOR


def pixels_of(y: Tensor, rows: int, width: int) -> Tensor:
    """Return what `Kernels.head` has made as rows x width x 3."""
    groups = y[: rows * _groups(width) * _VECTOR].view(rows, -1, _VECTOR)
    return groups[..., : 3 * _GROUP].reshape(rows, -1, 3)[:, :width]


def _groups(width: int) -> int:
    """Return how many groups of pixels a row has; the last one may go beyond it."""
    return -(-width // _GROUP)


def _packed(name: str, layer: nn.Conv2d) -> Tensor:
    """Return the weights of a convolution as its kernel reads them."""
    weight = layer.weight.detach()  # D, C, K, K
    if weight.shape[2] == 3 and layer.stride == (1, 1):
        return transformed_kernels(weight)
    if name == _HEAD:
        # Channel 3 p + c of the result is channel c of pixel p, which is p columns further to the right.
        shifted = [F.pad(weight, [pixel, _GROUP - 1 - pixel]) for pixel in range(_GROUP)]
        weight = F.pad(torch.cat(shifted), [0, 0, 0, 0, 0, 0, 0, _VECTOR - 3 * _GROUP])
    blocks = weight.view(-1, _VECTOR, *weight.shape[1:]).permute(0, 3, 4, 2, 1)  # D / 16, K, taps, C, 16
    return blocks.contiguous().flatten()
