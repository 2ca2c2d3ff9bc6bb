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
from nst_core.inference.stylizer import Precision
from nst_core.nets import native
from nst_core.nets.convolution import transformed_kernels
from nst_core.nets.transformer import ROUNDING, TransformerConfig, TransformerNet

#: The values of a vector; there are kernels for multiples of twice as many channels.
_VECTOR = 16
_FIRST = "down1.conv"
_HEAD = "head"
_NO_NORM = (None, None, None, None, 0.0, 0.0)
#: Channels of the nine parts of a 9 x 9 kernel, 27 of which are used.
_PARTS = 32
#: The largest of the integers that stand for values; as in `nets/native/integers.h`.
_LARGEST = 16383


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


@dataclass(frozen=True, kw_only=True)
class Norm:
    """What normalises the result of a convolution: its weights, and the scale and the shift that a kernel fills."""

    weight: Tensor
    bias: Tensor
    scale: Tensor
    shift: Tensor
    eps: float

    @property
    def arguments(self) -> tuple[Tensor | float | None, ...]:
        """What kernels end with."""
        return self.weight, self.bias, self.scale, self.shift, self.eps, ROUNDING


@dataclass(frozen=True, kw_only=True)
class _Packed:
    """The weights of a convolution as its kernel reads them, and the scales of integers."""

    values: Tensor
    scales: Tensor | None = None

    @property
    def arguments(self) -> tuple[Tensor | None, ...]:
        return self.values, self.scales


class Kernels:
    """The weights of a network of a kind that `suits`, as the kernels read them: floats, or 16-bit integers.

    All methods fill `y` with the rows of a result, or as much of it as they need. `above` are the rows of padding
    before the first row that they read; a strip has rows of its neighbour there instead.
    """

    def __init__(self, net: TransformerNet, precision: Precision = "fp32") -> None:
        """Pack the weights of a network for the precision fp32 or int16."""
        self._layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d)}
        pack = _integers if precision == "int16" else _floats
        self._packed = {name: pack(_arranged(name, layer)) for name, layer in self._layers.items()}

    @property
    def nbytes(self) -> int:
        """The memory that they take, in bytes."""
        tensors = (tensor for packed in self._packed.values() for tensor in packed.arguments if tensor is not None)
        return sum(tensor.nbytes for tensor in tensors)

    def channels(self, name: str) -> int:
        """Return the number of channels that a convolution makes."""
        return self._layers[name].out_channels

    def side(self, name: str) -> int:
        """Return the height and the width of the kernels of a convolution."""
        return self._layers[name].kernel_size[0]

    def stride(self, name: str) -> int:
        """Return the rows and columns from what a result of a convolution reads to what the next one does."""
        return self._layers[name].stride[0]

    def convolve(self, x: Map, name: str, y: Tensor, *, rows: int, above: int, norm: Norm | None = None) -> None:
        """Convolve a map, and make what normalises the result."""
        stride, channels = self.stride(name), self.channels(name)
        weights, end = self._packed[name].arguments, norm.arguments if norm else _NO_NORM
        if name == _FIRST:
            bytes_first = (None, x.values) if x.values.dtype == torch.uint8 else (x.values, None)
            native.call("convolve_photo", *bytes_first, *weights, y, x.height, x.width, above, rows, channels, *end)
            return
        if stride == 1:
            sizes = (x.height, x.width, x.channels, 1 - above, rows, channels)
            native.call("convolve_3x3", *x.arguments, 0, *weights, y, *sizes, *end)
            return
        halved = (x.height, x.width, x.channels, rows, -(-x.width // stride), channels, above)
        native.call("convolve_half", *x.arguments, *weights, y, *halved, *end)

    def convolve_doubled(
        self, x: Map, name: str, y: Tensor, *, size: tuple[int, int], first: int, rows: int, norm: Norm | None = None
    ) -> None:
        """Convolve a map after doubling it and cutting it to `size`, from row `first` on."""
        sizes = (*size, x.channels, first, rows, self.channels(name))
        end = norm.arguments if norm else _NO_NORM
        native.call("convolve_3x3", *x.arguments, 1, *self._packed[name].arguments, y, *sizes, *end)

    def head(self, x: Map, y: Tensor, *, rows: int, above: int) -> None:
        """Make the last convolution: rows x width x 3."""
        sizes = (x.height, x.width, x.channels, above, rows)
        native.call(
            "convolve_to_picture", *x.arguments, *self._packed[_HEAD].arguments, self._layers[_HEAD].bias, y, *sizes
        )


def _arranged(name: str, layer: nn.Conv2d) -> Tensor:
    """Return the weights of a convolution: blocks of 16 channels, and in them rows of products for each channel."""
    weight = layer.weight.detach()  # D, C, K, K
    if name in (_FIRST, _HEAD):
        parts = weight.view(*weight.shape[:2], 3, 3, 3, 3)  # D, C, 3, K, 3, K: nine kernels of 3 x 3
        if name == _FIRST:
            weight = F.pad(parts.permute(0, 2, 4, 1, 3, 5).flatten(1, 3), [0, 0, 0, 0, 0, _PARTS - 27])
        else:
            weight = F.pad(parts.permute(2, 4, 0, 1, 3, 5).flatten(0, 2), [0, 0, 0, 0, 0, 0, 0, _PARTS - 27])
    if weight.shape[2] == 3 and layer.stride == (1, 1):
        channels = weight.shape[:2]
        return transformed_kernels(weight).view(36 * channels[0] // _VECTOR, 1, channels[1], _VECTOR)
    blocks = weight.view(-1, _VECTOR, *weight.shape[1:]).permute(0, 3, 4, 2, 1)  # D / 16, K, taps, C, 16
    return blocks.flatten(2, 3)


def _floats(blocks: Tensor) -> _Packed:
    return _Packed(values=blocks.contiguous())


def _integers(blocks: Tensor) -> _Packed:
    """Return weights, blocks x rows x products x 16, as 16-bit integers with a scale for each channel of a block.

    A sum over a row, times the largest value, has 31 bits at most.
    """
    sums = blocks.abs().sum(2).amax(1)  # blocks, 16
    scales = torch.maximum(sums / (2**31 / _LARGEST - blocks.shape[2]), blocks.abs().amax((1, 2)) / (2**15 - 1))
    scales[scales == 0] = 1
    pairs = F.pad(blocks / scales[:, None, None], [0, 0, 0, blocks.shape[2] % 2]).round().to(torch.int16)
    values = pairs.view(*pairs.shape[:2], -1, 2, _VECTOR).transpose(3, 4)  # blocks, rows, pairs, 16, 2
    return _Packed(values=values.contiguous(), scales=scales.contiguous())
