"""The layers of a transformer network for strips, in PyTorch, on any device."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nst_core.nets.operators import double_size
from nst_core.nets.palettes import Palette
from nst_core.nets.transformer import TransformerNet


class TorchLayers:
    """`passes.Layers` that compute at once what the inputs of one strip give.

    Convolutions compute in the type of the network's weights, everything else in float32.
    """

    def __init__(self, net: TransformerNet, inputs: Mapping[str, np.ndarray[Any, Any]], device: torch.device) -> None:
        self.is_wide = False
        self._net = net
        self._inputs = inputs
        self._device = device

    def input(self, name: str, shape: Sequence[int], dtype: Any = np.float32) -> Tensor:
        """Return an input on the device."""
        return torch.as_tensor(self._inputs[name], device=self._device)

    def photo(self) -> Tensor:
        """Return the strip of the photo."""
        return torch.as_tensor(self._inputs["photo"], device=self._device).float().permute(0, 3, 1, 2)

    def map(self, name: str) -> Tensor:
        """Return a strip of a stored map."""
        rows = self.input(name, [])
        height, channels, width = rows.shape
        return rows.view(height, width, channels).float().permute(2, 0, 1)[None]

    def stored(self, x: Tensor) -> Tensor:
        """Return a map as it is stored; the values of a row are in channels_last there, too."""
        _, channels, height, width = x.shape
        rows = x[0].permute(1, 2, 0)
        return (rows if self.is_wide else rows.half()).reshape(height, channels, width)

    def conv(self, x: Tensor, name: str, rows: Tensor | None = None) -> Tensor:
        """Return a convolution of the network."""
        layer = self._net.get_submodule(name)
        assert isinstance(layer, torch.nn.Conv2d)
        if name == "down1.conv":
            x = x / 255
        return _convolved(_padded(x, layer.kernel_size[0] // 2, rows), layer, stride=layer.stride[0])

    def norm(self, x: Tensor, name: str, *, relu: bool = True, given: bool = False) -> Tensor:
        """Return the normalised map."""
        y = torch.addcmul(self.input(f"{name}.shift", []), x, self.input(f"{name}.scale", []))
        return y.relu_() if relu else y

    def moments(self, x: Tensor) -> dict[str, Tensor]:
        """Return mean and variance of each channel."""
        mean = x.mean((2, 3), keepdim=True)
        return {"mean": mean, "variance": (x - mean).square_().mean((2, 3), keepdim=True)}

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the sum of two maps."""
        return x + y

    def cut(self, x: Tensor, name: str) -> Tensor:
        """Return a part of a map."""
        (row, column), (last_row, last_column) = self._inputs[name].tolist()
        return x[:, :, row:last_row, column:last_column]

    def up_at_once(
        self, x: Tensor, name: str, rows: Tensor | None = None, *, odd: tuple[bool, bool] = (False, False)
    ) -> Tensor:
        """Return the convolution of the doubled map."""
        layer = self._net.get_submodule(name)
        assert isinstance(layer, torch.nn.Conv2d)
        assert rows is not None
        before, after = map(int, rows)
        odd_row, odd_column = map(int, odd)
        # Of the doubled rows around a strip only the inner ones are read.
        height, width = 2 * x.shape[2], 2 * x.shape[3]
        doubled = double_size(x)[:, :, 1 - before : height - 1 + after, : width - odd_column]
        return _convolved(F.pad(doubled, [1, 1, before, after + odd_row], mode="reflect"), layer)

    def head(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the last convolution after the output function."""
        return self.output(_convolved(_padded(x, 4, rows), self._net.head))

    def output(self, y: Tensor) -> Tensor:
        """Return the values 0 to 255 of the output function."""
        y = 127.5 + (255 * y if self._net.config.output == "linear" else 150 * torch.tanh(y))
        return y.clamp_(0, 255)

    def picture(self, y: Tensor, size: Tensor) -> Tensor:
        """Return the picture as bytes, in the colours of the palette."""
        y, palette = y[:, :, : int(size[0]), : int(size[1])].permute(0, 2, 3, 1), Palette.of(self._net)
        return palette(y[0])[None] if palette else y.round().to(torch.uint8)

    def size_input(self, name: str) -> Tensor:
        """Return an input of height and width."""
        return self.input(name, [])


def _padded(x: Tensor, margin: int, rows: Tensor | None) -> Tensor:
    before, after = (margin, margin) if rows is None else (int(rows[0]), int(rows[1]))
    # Several steps of reflection where a strip has fewer rows than the padding are not needed: strips are taller.
    return F.pad(x, [margin, margin, before, after], mode="reflect")


def _convolved(x: Tensor, layer: torch.nn.Conv2d, *, stride: int = 1) -> Tensor:
    return F.conv2d(x.to(layer.weight.dtype), layer.weight, layer.bias, stride).float()
