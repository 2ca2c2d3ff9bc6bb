"""A transformer network for whole photos in our own kernels; see `native_kernels`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Condition

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nst_core.inference.halves import HalfOverflowError, check
from nst_core.inference.native_kernels import Kernels, Map, Norm, painted
from nst_core.inference.stylizer import Pixels
from nst_core.nets.palettes import Palette
from nst_core.nets.transformer import TransformerNet

Floats = npt.NDArray[np.float32]


class Workspace:
    """The memory of maps, which stays for the next photo."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def buffer(self, name: str, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return memory for so many values, or more, whose content is anything."""
        kept = self._buffers.get(name)
        if kept is None or kept.numel() < size or kept.dtype != dtype:
            self._buffers[name] = kept = torch.empty(size, dtype=dtype)
        return kept

    def release(self) -> None:
        """Give the memory back."""
        self._buffers.clear()


class Workspaces:
    """As many workspaces as photos may be computed at the same time."""

    def __init__(self, count: int) -> None:
        self._free = [Workspace() for _ in range(count)]
        self._changed = Condition()

    @contextmanager
    def one(self) -> Iterator[Workspace]:
        """Lend a workspace for the `with` block, when one is free."""
        with self._changed:
            self._changed.wait_for(lambda: self._free)
            workspace = self._free.pop()  # the last one that was used
        try:
            yield workspace
        finally:
            with self._changed:
                self._free.append(workspace)
                self._changed.notify()

    def release(self) -> None:
        """Give back the memory of those that nobody uses."""
        with self._changed:
            for workspace in self._free:
                workspace.release()


class NativeNetwork:
    """Maps a photo to its picture."""

    def __init__(self, net: TransformerNet, kernels: Kernels, workspaces: Workspaces) -> None:
        """Take a network of a kind that `native_kernels.suits`, its kernels, and memory for maps."""
        self._config = net.config
        self._tensors = net.state_dict()
        self._kernels = kernels
        self._workspaces = workspaces
        self._palette = Palette.of(net)

    def __call__(self, photo: Pixels) -> Pixels:
        """Return the picture of a photo, H x W x 3 bytes each. Raises MemoryError if there is no memory for it."""
        with self._workspaces.one() as workspace:
            with suppress(HalfOverflowError):
                return self._picture(photo, partial(self._layer, workspace, self._kernels.map_type), workspace)
            return self._picture(photo, partial(self._layer, workspace, torch.float32), workspace)

    def _picture(self, photo: Pixels, layer: Callable[..., Map], workspace: Workspace) -> Pixels:
        height, width = photo.shape[:2]
        pixels = torch.from_numpy(np.array(photo, order="C"))
        x = Map(values=pixels, height=height, width=width, channels=3)
        for number in ("1", "2", "3"):
            x = layer(x, f"down{number}.conv", f"down{number}.norm", buffer=number, relu=True)
        sizes = self._sizes("down3.norm", x)
        for block in range(self._config.blocks):
            name = f"residuals.{block}"
            y = layer(x, f"{name}.conv1", f"{name}.norm1", buffer="y", relu=True)
            y = layer(y, f"{name}.conv2", f"{name}.norm2", buffer="z")
            self._kernels.add(x, y, x.values)
            sizes = sizes + self._sizes(f"{name}.norm2", y)
            _check(x, sizes)
            x = Map(values=x.values, height=x.height, width=x.width, channels=x.channels)
        half = -(-height // 2), -(-width // 2)
        if self._config.crop == "end":
            half, (height, width) = (2 * x.height, 2 * x.width), (4 * x.height, 4 * x.width)
        x = layer(x, "up1.conv", "up1.norm", buffer="2", relu=True, doubled=half)
        x = layer(x, "up2.conv", "up2.norm", buffer="1", relu=True, doubled=(height, width))
        return self._head(x, workspace)[: photo.shape[0], : photo.shape[1]]

    def _layer(
        self,
        workspace: Workspace,
        dtype: torch.dtype,
        x: Map,
        conv: str,
        norm: str,
        *,
        buffer: str,
        relu: bool = False,
        doubled: tuple[int, int] | None = None,
    ) -> Map:
        """Return the convolution of a map, or of its first rows and columns after doubling, and what normalises it."""
        kernels, channels = self._kernels, self._kernels.channels(conv)
        stride = kernels.stride(conv)
        height, width = doubled or (-(-x.height // stride), -(-x.width // stride))
        y = workspace.buffer(buffer, height * width * channels, dtype)
        weight, bias = self._tensors[f"{norm}.weight"], self._tensors[f"{norm}.bias"]
        scale, shift = torch.empty_like(weight), torch.empty_like(weight)
        made = Norm(weight=weight, bias=bias, scale=scale, shift=shift, eps=self._config.norm_eps)
        if doubled:
            kernels.convolve_doubled(x, conv, y, size=doubled, first=0, rows=height, norm=made)
        else:
            kernels.convolve(x, conv, y, rows=height, above=kernels.side(conv) // 2, norm=made)
        result = Map(values=y, height=height, width=width, channels=channels, scale=scale, shift=shift, relu=relu)
        # Normalisation has made these from its mean and variance. Without any variance, the values do not matter.
        factor = np.abs(scale.numpy())
        sizes = self._sizes(norm, result) + np.abs(shift.numpy())
        _check(result, np.divide(sizes, factor, out=np.zeros_like(sizes), where=factor != 0))
        return result

    def _sizes(self, norm: str, x: Map) -> Floats:
        """Return for each channel a size that no value of a map exceeds after its normalisation."""
        weight, bias = (np.abs(self._tensors[f"{norm}.{part}"].numpy()) for part in ("weight", "bias"))
        # Furthest from the mean is a value if all others are equal.
        sizes: Floats = bias + weight * np.float32(x.height * x.width) ** np.float32(0.5)
        return sizes

    def _head(self, x: Map, workspace: Workspace) -> Pixels:
        count = x.height * x.width * 3
        y = workspace.buffer("head", count)[:count].view(x.height, x.width, 3)
        self._kernels.head(x, y, rows=x.height, above=4)
        result: Pixels = painted(y, self._config, self._palette).numpy()
        return result


def _check(x: Map, sizes: Floats) -> None:
    """Raise HalfOverflowError if the values of a map are float16, which has not held them."""
    if x.values.dtype == torch.float16:
        count = x.height * x.width * x.channels
        check(x.values[:count].view(x.height, -1).numpy(), sizes)
