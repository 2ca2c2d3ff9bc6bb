"""The layers of a transformer network for strips, in our own kernels; see `native_kernels`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nst_core.inference.halves import check, largest
from nst_core.inference.native_kernels import Kernels, Map, Norm, painted
from nst_core.inference.torch_layers import TorchLayers
from nst_core.nets.palettes import Palette
from nst_core.nets.transformer import TransformerNet


class NativeLayers(TorchLayers):
    """`TorchLayers` on the CPU with faster convolutions, which normalise what they read, and statistics."""

    def __init__(self, net: TransformerNet, inputs: Mapping[str, np.ndarray[Any, Any]], kernels: Kernels) -> None:
        super().__init__(net, inputs, torch.device("cpu"))
        self._kernels = kernels
        #: Mean and variance of each channel of the last result of a convolution, float64.
        self._moments: Tensor | None = None

    def photo(self) -> Tensor:
        """Return the strip of the photo, as bytes."""
        return torch.as_tensor(self._inputs["photo"]).permute(0, 3, 1, 2)

    def map(self, name: str) -> Map:  # type: ignore[override]
        """Return a strip of a stored map, as it is stored."""
        rows = self.input(name, [])
        height, channels, width = rows.shape
        return Map(values=rows, height=height, width=width, channels=channels)

    def stored(self, x: Tensor | Map) -> Tensor:
        """Return a map as it is stored; see `TorchLayers.stored`."""
        if isinstance(x, Map):
            y = _empty(x.height, x.width, x.channels, self._type(stored=True))
            self._kernels.add(x, None, y)
            x = y
        _, channels, height, width = x.shape
        return x[0].permute(1, 2, 0).view(height, channels, width)

    def conv(self, x: Tensor | Map, name: str, rows: Tensor | None = None) -> Tensor:
        """Return a convolution of the network: as float16 if it is stored, or if maps of whole photos are."""
        read = _map(x)
        stride, side = self._kernels.stride(name), self._kernels.side(name)
        above, below = _above_and_below(rows, side // 2)
        height = (read.height + above + below - side) // stride + 1
        dtype = self._type(stored=name == "down3.conv" or name.startswith("residuals."))
        y = _empty(height, -(-read.width // stride), self._kernels.channels(name), dtype)
        self._kernels.convolve(read, name, y, rows=height, above=above, norm=self._measure(y))
        return self._checked(y)

    def norm(self, x: Tensor | Map, name: str, *, relu: bool = True, given: bool = False) -> Map:  # type: ignore[override]
        """Return the map as one that is normalised."""
        scale, shift = self.input(f"{name}.scale", []), self.input(f"{name}.shift", [])
        return replace(_map(x), scale=scale, shift=shift, relu=relu)

    def moments(self, x: Tensor) -> dict[str, Tensor]:
        """Return mean and variance of each channel of the last result of a convolution."""
        assert self._moments is not None
        return {"mean": self._moments[0], "variance": self._moments[1]}

    def add(self, x: Tensor | Map, y: Tensor | Map) -> Tensor:
        """Return the sum of two maps, of the type of the first one."""
        one = _map(x)
        total = _empty(one.height, one.width, one.channels, one.values.dtype)
        self._kernels.add(one, _map(y), total)
        return total

    def _type(self, *, stored: bool = False) -> torch.dtype:
        """Return the type of a map."""
        if self.is_wide:
            return torch.float32
        return torch.float16 if stored else self._kernels.map_type

    def _checked(self, y: Tensor) -> Tensor:
        """Return the last result of a convolution; raise HalfOverflowError if float16 does not hold its values."""
        if y.dtype == torch.float16:
            assert self._moments is not None
            mean, variance = self._moments.numpy()
            check(y[0].permute(1, 2, 0).numpy(), largest(y.shape[2] * y.shape[3], mean, variance))
        return y

    def _measure(self, y: Tensor) -> Norm:
        """Let a kernel fill mean and variance of a result."""
        self._moments = torch.empty(2, 1, y.shape[1], 1, 1, dtype=torch.float64)
        return Norm(scale=self._moments[0], shift=self._moments[1])

    def up_at_once(
        self, x: Tensor | Map, name: str, rows: Tensor | None = None, *, odd: Sequence[bool] = (False, False)
    ) -> Tensor:
        """Return the convolution of the doubled map."""
        assert rows is not None
        read = _map(x)
        above, below = map(int, rows)
        # Of the doubled rows around a strip only the inner ones are read; see `TorchLayers`.
        height, width = 2 * read.height - odd[0], 2 * read.width - odd[1]
        made = 2 * (read.height - 2 + above + below) + odd[0]
        y = _empty(made, width, self._kernels.channels(name), self._type())
        first = 0 if above else 2
        self._kernels.convolve_doubled(
            read, name, y, size=(height, width), first=first, rows=made, norm=self._measure(y)
        )
        return self._checked(y)

    def head(self, x: Tensor | Map, rows: Tensor | None = None) -> Tensor:
        """Return the last convolution, 1 x H x W x 3, before the output function."""
        read = _map(x)
        above, below = _above_and_below(rows, 4)
        height = read.height + above + below - 8
        y = torch.empty(1, height, read.width, 3)
        self._kernels.head(read, y[0], rows=height, above=above)
        return y

    def picture(self, y: Tensor, size: Tensor) -> Tensor:
        """Return what `head` returned as bytes, in the colours of the palette."""
        pixels = painted(y[0], self._net.config, Palette.of(self._net))
        return pixels[None, : int(size[0]), : int(size[1])]


def _map(x: Tensor | Map) -> Map:
    if isinstance(x, Map):
        return x
    _, channels, height, width = x.shape
    rows = x.contiguous(memory_format=torch.channels_last)
    return Map(values=rows, height=height, width=width, channels=channels)


def _empty(height: int, width: int, channels: int, dtype: torch.dtype) -> Tensor:
    return torch.empty((1, channels, height, width), dtype=dtype, memory_format=torch.channels_last)


def _above_and_below(rows: Tensor | None, margin: int) -> tuple[int, int]:
    return (margin, margin) if rows is None else (int(rows[0]), int(rows[1]))
