"""Stylize photos with a trained transformer network: uint8 pictures in, uint8 pictures of the same size out."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nst_core.errors import ConfigError, ImageTooLargeError, ImageTooSmallError
from nst_core.nets.costs import max_pixels, stylize_bytes
from nst_core.nets.tensors import to_tensor, to_uint8
from nst_core.nets.transformer import MIN_SIDE_PX, TransformerNet
from nst_core.nets.weights import load_transformer, load_transformer_bytes
from nst_core.system.devices import on_device
from nst_core.system.memory import memory_for

Pixels = npt.NDArray[np.uint8]

#: Weights of R, G, B in the luminance Y of YIQ and YCbCr (ITU-R BT.601).
LUMA = (0.299, 0.587, 0.114)


class Stylizer:
    """A style that is ready to use on one device. Safe to call from several threads."""

    def __init__(self, net: TransformerNet, *, device: torch.device | str = "cpu") -> None:
        """Take over a network: it is moved to the device and put into eval mode."""
        self.device = torch.device(device)
        self.net = net.to(self.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
        self._luma = torch.tensor(LUMA, device=self.device).view(1, 3, 1, 1)

    @classmethod
    def load(cls, source: Path | bytes, *, device: torch.device | str = "cpu") -> "Stylizer":
        """Return the stylizer of a weights file, or of one's bytes; raise WeightsError where it is damaged."""
        net = load_transformer_bytes(source) if isinstance(source, bytes) else load_transformer(source)
        return cls(net, device=device)

    @property
    def nbytes(self) -> int:
        """The memory that the weights take, in bytes."""
        tensors = [*self.net.parameters(), *self.net.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def max_pixels(self, budget_bytes: int) -> int:
        """Return how many pixels a photo may have so that its pass takes at most so many bytes of memory."""
        return max_pixels(self.net.config, budget_bytes)

    def __call__(
        self, batch: npt.NDArray[np.uint8], *, strength: float = 1.0, preserve_color: bool = False
    ) -> npt.NDArray[np.uint8]:
        """Return the stylized photos of a uint8 N x H x W x 3 batch of RGB photos, in the same shape.

        `strength`, 0 to 1, blends from the photo to its stylization, linearly in pixel values. `preserve_color` takes
        the luminance from the stylization and the chrominance from the photo, before blending (Gatys, Bethge,
        Hertzmann, Shechtman, "Preserving Color in Neural Artistic Style Transfer" (2016), section 3.2). Raises
        ConfigError for another strength, shape or type, ImageTooSmallError for a side under 16 pixels.
        """
        if not 0.0 <= strength <= 1.0:
            raise ConfigError(f"strength must be from 0 to 1, not {strength!r}.")
        if batch.ndim != 4 or batch.shape[3] != 3 or batch.dtype != np.uint8:
            raise ConfigError(f"A batch must be N x H x W x 3 of uint8, not {batch.shape} of {batch.dtype}.")
        height, width = batch.shape[1:3]
        if min(height, width) < MIN_SIDE_PX:
            raise ImageTooSmallError(f"The image is {width:,} x {height:,} pixels; each side must have {MIN_SIDE_PX}.")
        if strength == 0.0:
            return batch.copy()
        results = np.empty_like(batch, order="C")
        with torch.inference_mode(), on_device(self.device):
            # One by one: a convolution may sum in another order for another N, so that a photo's last bits would
            # depend on its neighbours. Photos are large enough to keep a processor busy alone.
            for photo, result in zip(batch, results, strict=True):
                with memory_for(stylize_bytes(self.net.config, height * width)):
                    result[:] = self._insist(photo, strength=strength, preserve_color=preserve_color)
        return results

    def _insist(self, photo: Pixels, *, strength: float, preserve_color: bool) -> Pixels:
        """Return the result for one photo; on a GPU without memory for it, try once more with nothing else kept."""
        try:
            return self._one(photo, strength=strength, preserve_color=preserve_color)
        except torch.OutOfMemoryError:
            pass  # outside of the handler, whose traceback holds the tensors of the first try
        torch.cuda.empty_cache()
        try:
            return self._one(photo, strength=strength, preserve_color=preserve_color)
        except torch.OutOfMemoryError as error:
            height, width = photo.shape[:2]
            raise ImageTooLargeError(
                f"The image is {width:,} x {height:,} pixels, for which the GPU has too little memory: "
                "ask for a smaller result (max_px)."
            ) from error

    def _one(self, photo: Pixels, *, strength: float, preserve_color: bool) -> Pixels:
        image = to_tensor(np.array(photo, order="C"), device=self.device)  # 1, 3, H, W
        stylized = self._stylize(image, strength=strength, preserve_color=preserve_color)
        result: Pixels = to_uint8(stylized)[0].cpu().numpy()
        return result

    def _stylize(self, photo: Tensor, *, strength: float, preserve_color: bool) -> Tensor:
        stylized = self.net(photo).clamp_(0, 1)
        if preserve_color:
            # Swapping Y in YIQ adds the same difference to R, G and B: each takes Y with factor 1.
            stylized = photo + ((stylized - photo) * self._luma).sum(1, keepdim=True)
        return stylized if strength == 1.0 else torch.lerp(photo, stylized.clamp_(0, 1), strength)


def resolve_device(name: str) -> torch.device:
    """Return the device of a name: "auto" (a GPU if there is one, else the CPU), "cpu", "cuda" or "cuda:1".

    Raises ConfigError for another name or a GPU that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"The device must be auto, cpu, cuda or cuda:N, not {name!r}.") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"The device must be auto, cpu, cuda or cuda:N, not {name!r}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"This machine has no device {name!r}.")
    return device
