"""The convolutions of a transformer network in our own kernels (`nets/native`), float32, on the CPU.

The results are those of `TransformerNet` up to rounding. A kernel normalises the map that it reads, pads and doubles
it, so that normalised maps, padded ones and doubled ones are never stored. Convolutions of 3 x 3 and stride 1 use
Winograd's algorithm, with a quarter of the products.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nst_core.inference.strips import supports
from nst_core.inference.stylizer import Precision
from nst_core.nets import native
from nst_core.nets.packed import COLUMNS, Packed, packed, photo_kernels, picture_kernels, winograd_kernels
from nst_core.nets.palettes import Palette
from nst_core.nets.transformer import ROUNDING, TransformerConfig, TransformerNet

_FIRST = "down1.conv"
_HEAD = "head"
#: Columns around a photo, or a map, that a 9 x 9 convolution reads.
_MARGIN = 4


def typed(values: Tensor) -> tuple[Tensor, int]:
    """Return what kernels take for a map that they read or make: its values, and whether they are float16."""
    return values, int(values.dtype == torch.float16)


def suits(config: TransformerConfig) -> bool:
    """Return whether there are kernels for networks of this kind."""
    return supports(config) and config.width % (2 * COLUMNS) == 0


@dataclass(frozen=True, kw_only=True)
class Map:
    """A map as its convolution has left it, height x width x channels, and what normalises it, if anything does.

    Its values are float32 or float16.
    """

    values: Tensor
    height: int
    width: int
    channels: int
    scale: Tensor | None = None
    shift: Tensor | None = None
    relu: bool = False

    @property
    def arguments(self) -> tuple[Tensor | int | None, ...]:
        """What kernels that read the map take."""
        return *typed(self.values), self.scale, self.shift, int(self.relu)


@dataclass(frozen=True, kw_only=True)
class Norm:
    """What normalises the result of a convolution: its weights, and the scale and the shift that a kernel fills.

    Without weights, they become mean and variance of each channel, and are float64.
    """

    weight: Tensor | None = None
    bias: Tensor | None = None
    scale: Tensor
    shift: Tensor
    eps: float = 0.0

    @property
    def arguments(self) -> tuple[Tensor | float | None, ...]:
        """What kernels end with."""
        return self.weight, self.bias, self.scale, self.shift, self.eps, ROUNDING


class Kernels:
    """The weights of a network of a kind that `suits`, as the kernels read them: floats, or 16-bit integers.

    All methods fill `y` with the rows of a result, or as much of it as they need. `above` are the rows of padding
    before the first row that they read; a strip has rows of its neighbour there instead.
    """

    def __init__(self, net: TransformerNet, precision: Precision = "fp32") -> None:
        """Pack the weights of a network for the precision fp32 or int16."""
        self._layers = {name: layer for name, layer in net.named_modules() if isinstance(layer, nn.Conv2d)}
        self._integers = precision == "int16"
        self._packed = {name: _packed(name, layer, integers=self._integers) for name, layer in self._layers.items()}

    @property
    def map_type(self) -> torch.dtype:
        """The type of the maps of whole photos: rounding to integers loses more than float16 does."""
        return torch.float16 if self._integers else torch.float32

    @property
    def nbytes(self) -> int:
        """The memory that they take, in bytes."""
        return sum(each.nbytes for each in self._packed.values())

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
        weights, end = self._packed[name].arguments, norm.arguments if norm else native.NO_NORM
        if name == _FIRST:
            bytes_first = (None, x.values) if x.values.dtype == torch.uint8 else (x.values, None)
            first = (x.height, x.width, above, _MARGIN, rows, x.width, channels)
            native.call("convolve_photo", *bytes_first, *weights, *typed(y), *first, *end)
            return
        if stride == 1:
            same = (x.height, x.width, x.channels, 1 - above, rows, channels)
            native.call("convolve_3x3", *x.arguments, 0, *weights, *typed(y), *same, *end)
            return
        halved = (x.height, x.width, x.channels, rows, -(-x.width // stride), channels, above)
        native.call("convolve_half", *x.arguments, *weights, *typed(y), *halved, *end)

    def convolve_doubled(
        self, x: Map, name: str, y: Tensor, *, size: tuple[int, int], first: int, rows: int, norm: Norm | None = None
    ) -> None:
        """Convolve a map after doubling it and cutting it to `size`, from row `first` on."""
        sizes = (*size, x.channels, first, rows, self.channels(name))
        end = norm.arguments if norm else native.NO_NORM
        native.call("convolve_3x3", *x.arguments, 1, *self._packed[name].arguments, *typed(y), *sizes, *end)

    def add(self, x: Map, y: Map | None, total: Tensor) -> None:
        """Make the sum of two maps, or the first one normalised, if there is no other."""
        other = (None, 0, None, None) if y is None else y.arguments[:-1]
        native.call("add", *x.arguments, *other, *typed(total), x.height * x.width, x.channels)

    def head(self, x: Map, y: Tensor, *, rows: int, above: int) -> None:
        """Make the last convolution: rows x width x 3."""
        sizes = (x.height, x.width, x.channels, above, _MARGIN, rows, x.width)
        native.call(
            "convolve_to_picture", *x.arguments, *self._packed[_HEAD].arguments, self._layers[_HEAD].bias, y, *sizes
        )


def painted(y: Tensor, config: TransformerConfig, palette: Palette | None) -> Tensor:
    """Return the pixels, uint8, for the result of the last convolution: H x W x 3 each, which are contiguous."""
    pixels = torch.empty(y.shape, dtype=torch.uint8)
    table = palette.table if palette else None
    native.call("paint", y, table, pixels, y.shape[0] * y.shape[1], int(config.output == "linear"))
    return pixels


def _packed(name: str, layer: nn.Conv2d, *, integers: bool) -> Packed:
    """Return the weights of a convolution."""
    weight = layer.weight.detach()  # D, C, K, K
    if name == _FIRST:
        return photo_kernels(weight, integers=integers)
    if name == _HEAD:
        return picture_kernels(weight, integers=integers)
    if weight.shape[2] == 3 and layer.stride == (1, 1):
        return winograd_kernels(weight, integers=integers)
    blocks = weight.view(-1, COLUMNS, *weight.shape[1:]).permute(0, 3, 4, 2, 1)  # D / 16, K, taps, C, 16
    return packed(blocks.flatten(2, 3), integers=integers)
