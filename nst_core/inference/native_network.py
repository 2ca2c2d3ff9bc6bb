"""A transformer network for whole photos in our own kernels; see `native_kernels`."""

from threading import Lock

import numpy as np
import torch
from torch import Tensor

from nst_core.inference.native_kernels import Kernels, Map, Norm, painted
from nst_core.inference.stylizer import Pixels
from nst_core.nets.palettes import Palette
from nst_core.nets.transformer import TransformerNet


class Workspace:
    """The memory of maps, which stays for the next photo. Who has its `lock` may use it."""

    def __init__(self) -> None:
        self.lock = Lock()
        self._buffers: dict[str, Tensor] = {}

    def buffer(self, name: str, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return memory for so many values, or more, whose content is anything."""
        kept = self._buffers.get(name)
        if kept is None or kept.numel() < size or kept.dtype != dtype:
            self._buffers[name] = kept = torch.empty(size, dtype=dtype)
        return kept

    def release(self) -> None:
        """Give the memory back."""
        with self.lock:
            self._buffers.clear()


class NativeNetwork:
    """Maps a photo to its picture."""

    def __init__(self, net: TransformerNet, kernels: Kernels, workspace: Workspace) -> None:
        """Take a network of a kind that `native_kernels.suits`, its kernels, and memory for maps."""
        self._config = net.config
        self._tensors = net.state_dict()
        self._kernels = kernels
        self._workspace = workspace
        self._palette = Palette.of(net)

    def __call__(self, photo: Pixels) -> Pixels:
        """Return the picture of a photo, H x W x 3 bytes each. Raises MemoryError if there is no memory for it."""
        with self._workspace.lock:
            return self._picture(photo)

    def _picture(self, photo: Pixels) -> Pixels:
        height, width = photo.shape[:2]
        pixels = torch.from_numpy(np.array(photo, order="C"))
        x = Map(values=pixels, height=height, width=width, channels=3)
        for number in ("1", "2", "3"):
            x = self._layer(x, f"down{number}.conv", f"down{number}.norm", buffer=number, relu=True)
        for block in range(self._config.blocks):
            name = f"residuals.{block}"
            y = self._layer(x, f"{name}.conv1", f"{name}.norm1", buffer="y", relu=True)
            y = self._layer(y, f"{name}.conv2", f"{name}.norm2", buffer="z")
            self._kernels.add(x, y, x.values)
            x = Map(values=x.values, height=x.height, width=x.width, channels=x.channels)
        half = -(-height // 2), -(-width // 2)
        if self._config.crop == "end":
            half, (height, width) = (2 * x.height, 2 * x.width), (4 * x.height, 4 * x.width)
        x = self._layer(x, "up1.conv", "up1.norm", buffer="2", relu=True, doubled=half)
        x = self._layer(x, "up2.conv", "up2.norm", buffer="1", relu=True, doubled=(height, width))
        return self._head(x)[: photo.shape[0], : photo.shape[1]]

    def _layer(
        self, x: Map, conv: str, norm: str, *, buffer: str, relu: bool = False, doubled: tuple[int, int] | None = None
    ) -> Map:
        """Return the convolution of a map, or of its first rows and columns after doubling, and what normalises it."""
        kernels, channels = self._kernels, self._kernels.channels(conv)
        stride = kernels.stride(conv)
        height, width = doubled or (-(-x.height // stride), -(-x.width // stride))
        y = self._workspace.buffer(buffer, height * width * channels, self._kernels.map_type)
        weight, bias = self._tensors[f"{norm}.weight"], self._tensors[f"{norm}.bias"]
        scale, shift = torch.empty_like(weight), torch.empty_like(weight)
        made = Norm(weight=weight, bias=bias, scale=scale, shift=shift, eps=self._config.norm_eps)
        if doubled:
            kernels.convolve_doubled(x, conv, y, size=doubled, first=0, rows=height, norm=made)
        else:
            kernels.convolve(x, conv, y, rows=height, above=kernels.side(conv) // 2, norm=made)
        return Map(values=y, height=height, width=width, channels=channels, scale=scale, shift=shift, relu=relu)

    def _head(self, x: Map) -> Pixels:
        count = x.height * x.width * 3
        y = self._workspace.buffer("head", count)[:count].view(x.height, x.width, 3)
        self._kernels.head(x, y, rows=x.height, above=4)
        result: Pixels = painted(y, self._config, self._palette).numpy()
        return result
