"""The reference engine: a transformer network in PyTorch, float32, one photo at a time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nst_core.errors import ConfigError, ImageTooLargeError
from nst_core.inference.strips import Define, StripSize
from nst_core.inference.stylizer import EXACT, Pixels, Precision, check_call
from nst_core.inference.torch_layers import TorchLayers
from nst_core.nets.costs import max_pixels, stylize_bytes
from nst_core.nets.families import Style
from nst_core.nets.palettes import Palette, finished
from nst_core.nets.tensors import to_tensor
from nst_core.nets.transformer import MIN_SIDE_PX, TransformerConfig, TransformerNet
from nst_core.nets.weights import load_transformer, load_transformer_bytes
from nst_core.system.devices import on_device
from nst_core.system.memory import memory_for


class EagerStylizer:
    """A `Stylizer` that calls the network as it is. The results of other engines are compared with its results."""

    choice = EXACT
    min_side_px = MIN_SIDE_PX
    strip_size = StripSize()

    def __init__(self, net: TransformerNet, *, device: torch.device | str = "cpu") -> None:
        """Take over a network: it is moved to the device and put into eval mode."""
        self.device = torch.device(device)
        self.net = placed(net, self.device)
        self._palette = Palette.of(self.net)

    @classmethod
    def load(
        cls,
        source: Path | bytes,
        *,
        style: Style = 0,
        device: torch.device | str = "cpu",
        precision: Precision = "fp32",
    ) -> "EagerStylizer":
        """Return the stylizer of a style of a weights file, or of the bytes of one.

        Raises WeightsError if it is damaged or has no such style, and ConfigError for another precision than float32.
        """
        if precision != "fp32":
            raise ConfigError(f"The engine eager has the precision fp32, not {precision}.")
        return cls(network_of(source, style), device=device)

    @property
    def nbytes(self) -> int:
        """The memory that the weights take, in bytes."""
        tensors = [*self.net.parameters(), *self.net.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    @property
    def config(self) -> TransformerConfig:
        """The kind of the network."""
        return self.net.config

    @property
    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """The weights by their names in the network's state."""
        return {name: value.float().cpu().numpy() for name, value in self.net.state_dict().items()}

    @property
    def max_batch(self) -> int:
        """1: one photo is large enough to keep a processor busy.

        A convolution may sum in another order for another batch size, so that the last bits of a photo's result would
        depend on its neighbours.
        """
        return 1

    def max_pixels(self, budget_bytes: int) -> int:
        """Return how many pixels a photo may have; see `Stylizer.max_pixels`."""
        return max_pixels(self.net.config, budget_bytes)

    def __call__(self, batch: Pixels) -> Pixels:
        """Return the stylized photos; see `Stylizer.__call__`."""
        check_call(batch, min_side_px=self.min_side_px)
        height, width = batch.shape[1:3]
        results = np.empty_like(batch, order="C")
        with torch.inference_mode(), on_device(self.device):
            for photo, result in zip(batch, results, strict=True):
                with memory_for(stylize_bytes(self.net.config, height * width)):
                    result[:] = self._one_with_retry(photo)
        return results

    def run_pass(self, key: tuple[Any, ...], define: Define, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run a pass of a large picture on one strip; see `strips.Run`."""
        with torch.inference_mode(), on_device(self.device):
            outputs = define(TorchLayers(self.net, inputs, self.device))
            return {name: value.cpu().numpy() for name, value in outputs.items()}

    def release(self) -> None:
        """Nothing to do: torch frees what a pass needed."""

    def _one_with_retry(self, photo: Pixels) -> Pixels:
        """Return the result for one photo. If a GPU has too little memory, empty torch's cache and try once more."""
        try:
            return self._one(photo)
        except torch.OutOfMemoryError:
            pass  # retried outside of the handler, because the traceback holds the tensors of the first try
        torch.cuda.empty_cache()
        try:
            return self._one(photo)
        except torch.OutOfMemoryError as error:
            raise too_large(photo) from error

    def _one(self, photo: Pixels) -> Pixels:
        image = to_tensor(np.array(photo, order="C"), device=self.device)  # 1, 3, H, W
        result: Pixels = finished(self.net(image), self._palette).cpu().numpy()
        return result


def network_of(source: Path | bytes, style: Style = 0) -> TransformerNet:
    """Return the network of a style of a weights file, or of the bytes of one; raise as `load_transformer` does."""
    if isinstance(source, bytes):
        return load_transformer_bytes(source, style=style)
    return load_transformer(source, style=style)


def placed(net: TransformerNet, device: torch.device) -> TransformerNet:
    """Move a network to a device, ready for inference, and return it."""
    return net.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def too_large(photo: Pixels) -> ImageTooLargeError:
    """Return the error for an H x W x 3 photo that needs more memory than the GPU has."""
    height, width = photo.shape[:2]
    return ImageTooLargeError(
        f"The image is {width:,} x {height:,} pixels, for which the GPU has too little memory: "
        "ask for a smaller result (max_px)."
    )
