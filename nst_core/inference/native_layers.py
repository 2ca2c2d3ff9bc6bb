"""The layers of a transformer network for strips, in our own kernels; see `native_kernels`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nst_core.inference.native_kernels import Kernels, Map
from nst_core.inference.torch_layers import TorchLayers
from nst_core.nets.transformer import TransformerNet


class NativeLayers(TorchLayers):
    """`TorchLayers` on the CPU with faster convolutions."""

    def __init__(self, net: TransformerNet, inputs: Mapping[str, np.ndarray[Any, Any]], kernels: Kernels) -> None:
        super().__init__(net, inputs, torch.device("cpu"))
        self._kernels = kernels

    def conv(self, x: Tensor, name: str, rows: Tensor | None = None) -> Tensor:
        """Return a convolution of the network."""
        if name == "down1.conv":
            x = x / 255
        stride, side = self._kernels.stride(name), self._kernels.side(name)
        above, below = _above_and_below(rows, side // 2)
        height = (x.shape[2] + above + below - side) // stride + 1
        y = _empty(height, -(-x.shape[3] // stride), self._kernels.channels(name))
        self._kernels.convolve(_map(x), name, y, rows=height, above=above)
        return y

    def up_at_once(
        self, x: Tensor, name: str, rows: Tensor | None = None, *, odd: Sequence[bool] = (False, False)
    ) -> Tensor:
        """Return the convolution of the doubled map."""
        assert rows is not None
        above, below = map(int, rows)
        # Of the doubled rows around a strip only the inner ones are read; see `TorchLayers`.
        height, width = 2 * x.shape[2] - odd[0], 2 * x.shape[3] - odd[1]
        made = 2 * (x.shape[2] - 2 + above + below) + odd[0]
        y = _empty(made, width, self._kernels.channels(name))
        first = 0 if above else 2
        self._kernels.convolve_doubled(_map(x), name, y, size=(height, width), first=first, rows=made)
        return y

    def head(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the last convolution after the output function."""
        above, below = _above_and_below(rows, 4)
        height, width = x.shape[2] + above + below - 8, x.shape[3]
        y = torch.empty(height, width, 3)
        self._kernels.head(_map(x), y, rows=height, above=above)
        return self.output(y.permute(2, 0, 1)[None])


def _map(x: Tensor) -> Map:
    rows = x.contiguous(memory_format=torch.channels_last)
    return Map(values=rows, height=x.shape[2], width=x.shape[3], channels=x.shape[1])


def _empty(height: int, width: int, channels: int) -> Tensor:
    return torch.empty((1, channels, height, width), memory_format=torch.channels_last)


def _above_and_below(rows: Tensor | None, margin: int) -> tuple[int, int]:
    return (margin, margin) if rows is None else (int(rows[0]), int(rows[1]))
