"""The fastest engine of CPUs in float32: our own kernels, which this machine's compiler builds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nst_core.errors import ConfigError
from nst_core.inference.eager import EagerStylizer, network_of
from nst_core.inference.native_kernels import Kernels, suits
from nst_core.inference.native_layers import NativeLayers
from nst_core.inference.native_network import NativeNetwork, Workspaces
from nst_core.inference.openvino_engine import OpenvinoStylizer
from nst_core.inference.strips import FLOATS, Define, StripSize
from nst_core.inference.stylizer import EngineChoice, Pixels, Precision, check_call, is_flat
from nst_core.nets import native
from nst_core.nets.costs import max_pixels
from nst_core.nets.families import Style
from nst_core.nets.transformer import MIN_SIDE_PX, TransformerNet

PRECISIONS: tuple[Precision, ...] = ("fp32", "int16")
#: Of all styles: for one photo that keeps every core busy, or for two small ones; see `side_by_side`.
_WORKSPACES = Workspaces(2)
#: Their memory for smaller photos is kept for the next one.
_KEPT_PIXELS = 2_000_000


class NativeStylizer:
    """A `Stylizer` that computes a transformer network with `nets/native` on the CPU, one photo at a time."""

    min_side_px = MIN_SIDE_PX
    #: Quarter-size maps of 128 rows have one band of their own moments; see BAND in tiles.h.
    strip_size = StripSize(pixels=2**20, rows=128, multiple=128, tile=4, share=0.5)
    max_batch = 1

    def __init__(self, net: TransformerNet, *, precision: Precision = "fp32") -> None:
        """Take over a network of a kind that `native_kernels.suits`.

        Raises ConfigError if this machine cannot compile the kernels.
        """
        if native.library() is None:
            raise ConfigError("The engine native needs a C compiler (gcc).")
        self._reference = EagerStylizer(net)
        self.config = net.config
        self.choice = EngineChoice(engine="native", precision=precision)
        self._kernels = Kernels(net, precision)
        #: For photos that integers are too coarse for, while there is one.
        self._floats: Kernels | None = None
        self._network = NativeNetwork(net, self._kernels, _WORKSPACES)

    @classmethod
    def load(
        cls,
        source: Path | bytes,
        *,
        style: Style = 0,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
    ) -> "NativeStylizer | OpenvinoStylizer":
        """Return the stylizer of a style of a weights file, or of the bytes of one; raise as `load_transformer`.

        There are no kernels for some kinds of networks that others have published: OpenVINO runs them.
        """
        if torch.device(device).type != "cpu":
            raise ConfigError(f"The engine native runs on the CPU, not on {device}.")
        if precision not in PRECISIONS:
            raise ConfigError(f"The engine native has the precisions {', '.join(PRECISIONS)}, not {precision}.")
        net = network_of(source, style)
        return cls(net, precision=precision) if suits(net.config) else OpenvinoStylizer(net)

    @property
    def nbytes(self) -> int:
        """The memory that the weights take, in bytes: those of the reference, and those of the kernels."""
        return self._reference.nbytes + self._kernels.nbytes

    @property
    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """The weights by their names in the network's state."""
        return self._reference.tensors

    def max_pixels(self, budget_bytes: int) -> int:
        """Return how many pixels a photo may have; see `Stylizer.max_pixels`."""
        return max_pixels(self.config, budget_bytes)

    def __call__(self, batch: Pixels) -> Pixels:
        """Return the stylized photos; see `Stylizer.__call__`."""
        check_call(batch, min_side_px=self.min_side_px)
        results = np.empty_like(batch, order="C")
        with torch.inference_mode():
            for photo, result in zip(batch, results, strict=True):
                is_large = photo.shape[0] * photo.shape[1] > _KEPT_PIXELS
                if is_large:
                    _WORKSPACES.release()
                result[:] = self._reference(photo[None])[0] if is_flat(photo) else self._network(photo)
                if is_large:
                    _WORKSPACES.release()
        return results

    def run_pass(self, key: tuple[Any, ...], define: Define, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run a pass of a large picture on one strip; see `strips.Run`."""
        _WORKSPACES.release()
        with torch.inference_mode():
            outputs = define(NativeLayers(self._reference.net, inputs, self._kernels_for(key)))
            return {name: value.numpy() for name, value in outputs.items()}

    def _kernels_for(self, key: tuple[Any, ...]) -> Kernels:
        if FLOATS not in key:
            return self._kernels
        floats = self._floats
        if floats is None:
            self._floats = floats = Kernels(self._reference.net)
        return floats

    def release(self) -> None:
        """Give back what passes for floats needed beside the integers; torch frees the rest."""
        self._floats = None
