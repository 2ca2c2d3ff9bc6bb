"""The image transformation network of Johnson et al. (2016), size-exact.

Sources: Johnson, Alahi, Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution" (2016)
and its supplement (layers); Ulyanov et al., "Instance Normalization" (2016); Odena et al., "Deconvolution and
Checkerboard Artifacts" (2016) for the nearest-neighbour upsampling.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nst_core.errors import ConfigError

#: The smallest height and width that the network accepts, in pixels.
MIN_SIDE_PX = 16


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """What a transformer network is made of; it travels in the header of its weights file."""

    #: Channels after the first convolution; the next two layers double it, then double it again.
    width: int = 32
    #: Residual blocks at a quarter of the resolution.
    blocks: int = 5
    norm: Literal["instance", "batch"] = "instance"
    upsample: Literal["nearest", "transposed"] = "nearest"
    padding: Literal["reflect", "zero"] = "reflect"
    output: Literal["linear", "tanh"] = "linear"

    def __post_init__(self) -> None:
        choices = {
            "norm": ("instance", "batch"),
            "upsample": ("nearest", "transposed"),
            "padding": ("reflect", "zero"),
            "output": ("linear", "tanh"),
        }
        for field, allowed in choices.items():
            if getattr(self, field) not in allowed:
                raise ConfigError(f"{field} must be one of {', '.join(allowed)}, not {getattr(self, field)!r}.")
        for field, low, high in (("width", 1, 512), ("blocks", 0, 64)):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ConfigError(f"{field} must be a whole number from {low} to {high}, not {value!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the config as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TransformerConfig":
        """Build a config from `to_dict` values; raise ConfigError for an unknown field or a wrong value."""
        unknown = set(values) - set(cls.__dataclass_fields__)
        if unknown:
            raise ConfigError(f"Unknown transformer config fields: {', '.join(sorted(unknown))}.")
        return cls(**values)


class InstanceNorm(nn.Module):
    """Affine instance normalisation, (x - mean) / sqrt(var + eps) * weight + bias over H and W of each image.

    Equal to `nn.InstanceNorm2d(affine=True)`, but keeps the channels_last memory format, which the built-in
    one gives up by reshaping. Statistics are taken in float32 also when the activations are bfloat16.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:  # N, C, H, W
        # Twice through the image, which is as exact as torch.var_mean and three times faster in channels_last.
        centred = x.float() - x.float().mean((2, 3), keepdim=True)
        variance = centred.square().mean((2, 3), keepdim=True)  # N, C, 1, 1
        scale = self.weight.view(1, -1, 1, 1) * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias.view(1, -1, 1, 1), centred, scale).to(x.dtype)


def _norm(config: TransformerConfig, channels: int) -> nn.Module:
    return InstanceNorm(channels) if config.norm == "instance" else nn.BatchNorm2d(channels)


def _conv(
    config: TransformerConfig, c_in: int, c_out: int, kernel: int, stride: int = 1, bias: bool = False
) -> nn.Conv2d:
    # A normalisation layer follows all but the last convolution and cancels its bias, so there is none.
    mode: Literal["reflect", "zeros"] = "reflect" if config.padding == "reflect" else "zeros"
    return nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=bias, padding_mode=mode)


class ConvBlock(nn.Module):
    """Convolution, normalisation, ReLU."""

    def __init__(self, config: TransformerConfig, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = _conv(config, c_in, c_out, kernel, stride)
        self.norm = _norm(config, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


class ResidualBlock(nn.Module):
    """Two convolutions around a skip connection, with no ReLU after the sum (Johnson 2016, supplement)."""

    def __init__(self, config: TransformerConfig, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(config, channels, channels, 3)
        self.norm1 = _norm(config, channels)
        self.conv2 = _conv(config, channels, channels, 3)
        self.norm2 = _norm(config, channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return torch.add(x, self.norm2(self.conv2(y)))


class UpsampleBlock(nn.Module):
    """Double the size to exactly that of the matching encoder layer, then normalisation and ReLU."""

    def __init__(self, config: TransformerConfig, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if config.upsample == "transposed":
            self.conv = nn.ConvTranspose2d(c_in, c_out, 3, stride=2, padding=1, bias=False)
        else:
            self.conv = _conv(config, c_in, c_out, 3)
        self.norm = _norm(config, c_out)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Return x, of size (ceil(h / 2), ceil(w / 2)), upsampled to `size` = (h, w)."""
        if isinstance(self.conv, nn.ConvTranspose2d):
            y = self.conv(x, output_size=list(size))
        else:
            # An odd side came from rounding up in the encoder: the last row or column is dropped again.
            doubled = F.interpolate(x, scale_factor=2.0, mode="nearest")
            y = self.conv(doubled[:, :, : size[0], : size[1]])
        return F.relu(self.norm(y), inplace=True)


class TransformerNet(nn.Module):
    """Map photos to stylized photos of the same size in one forward pass.

    Input and output: float N, 3, H, W; RGB; 0 to 1; H and W of at least 16. The output is not clipped.
    A departure from Johnson et al.: they work on 0 to 255 with a tanh scaled by 150; here the unit range keeps
    the linear head well scaled at the default initialisation, and the tanh head is 0.5 + 150/255 tanh, the same.
    """

    def __init__(self, config: TransformerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or TransformerConfig()
        w = config.width
        self.down1 = ConvBlock(config, 3, w, 9)
        self.down2 = ConvBlock(config, w, 2 * w, 3, stride=2)
        self.down3 = ConvBlock(config, 2 * w, 4 * w, 3, stride=2)
        self.residuals = nn.Sequential(*(ResidualBlock(config, 4 * w) for _ in range(config.blocks)))
        self.up1 = UpsampleBlock(config, 4 * w, 2 * w)
        self.up2 = UpsampleBlock(config, 2 * w, w)
        self.head = _conv(config, w, 3, 9, bias=True)
        # A start near mid-grey: a random head paints noise whose Gram losses are a hundred times any picture's.
        nn.init.zeros_(self.head.get_parameter("bias"))
        self.head.weight.data.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:  # N, 3, H, W
        full = self.down1(x)  # N, w, H, W
        half = self.down2(full)  # N, 2w, ceil(H/2), ceil(W/2)
        y = self.residuals(self.down3(half))  # N, 4w, ceil(H/4), ceil(W/4)
        y = self.up1(y, _size(half))
        y = self.head(self.up2(y, _size(full)))  # N, 3, H, W
        return 0.5 + (y if self.config.output == "linear" else (150 / 255) * torch.tanh(y))


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]
