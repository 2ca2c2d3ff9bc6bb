"""The image transformation network of Johnson et al. (2016), size-exact.

Sources: Johnson, Alahi, Fei-Fei, "Perceptual Losses for Real-Time Style Transfer and Super-Resolution" (2016)
and its supplement (layers); Ulyanov et al., "Instance Normalization" (2016); Odena et al., "Deconvolution and
Checkerboard Artifacts" (2016) for the nearest-neighbour upsampling; Dumoulin, Shlens, Kudlur, "A Learned
Representation for Artistic Style" (2017) for several styles in one network. Other choices of the config express the
published networks of pytorch/examples and of lengstrom/fast-style-transfer exactly (nst_core/peers).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nst_core.nets import native
from nst_core.nets.instance_norm import normalized
from nst_core.nets.operators import ReflectConv2d, double_size, reflect_pad
from nst_core.nets.transformer_config import PALETTE, TransformerConfig

__all__ = ["MIN_SIDE_PX", "InstanceNorm", "SameConv2d", "TransformerConfig", "TransformerNet"]

#: The smallest height and width that the network accepts, in pixels.
MIN_SIDE_PX = 16


#: A variance below this share of the squared mean consists of rounding errors of float32.
ROUNDING = 1e-11


class InstanceNorm(nn.Module):
    """Affine instance normalisation, (x - mean) / sqrt(var + eps) * weight + bias over H and W of each image.

    Equal to `nn.InstanceNorm2d(affine=True)`, but keeps the channels_last memory format, which the built-in one gives
    up by reshaping, and takes statistics in float32 also of bfloat16 activations. A channel without variance becomes
    its bias and gets no gradient: its rounding errors would be multiplied by 1 / sqrt(eps), about 300, in each layer,
    so that the gradients of a flat photo overflow.

    With several styles (conditional instance normalisation), each has its own weight and bias, and each image a style.
    """

    def __init__(self, channels: int, eps: float = 1e-5, *, styles: int = 1) -> None:
        super().__init__()
        self.eps = eps
        shape = (styles, channels) if styles > 1 else (channels,)
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor, styles: Tensor | None = None, *, relu: bool = False) -> Tensor:  # N, C, H, W
        weight = self.weight if styles is None else self.weight[styles]  # C, or N, C
        bias = self.bias if styles is None else self.bias[styles]
        if torch.is_grad_enabled() and native.usable(x, x.shape[1]):
            return normalized(x, weight, bias, eps=self.eps, rounding=ROUNDING, relu=relu)
        # Two passes over the image: as exact as torch.var_mean and three times faster in channels_last.
        mean = x.float().mean((2, 3), keepdim=True)
        centred = x.float() - mean
        variance = centred.square().mean((2, 3), keepdim=True)  # N, C, 1, 1
        channels = (-1, x.shape[1], 1, 1)  # of all images or of each one
        scale = weight.view(channels) * torch.rsqrt(variance + self.eps)
        scale = torch.where(variance > ROUNDING * mean.square(), scale, 0.0)
        result = torch.addcmul(bias.view(channels), centred, scale).to(x.dtype)
        return F.relu(result, inplace=True) if relu else result


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: a side of n pixels becomes ceil(n / stride).

    It takes (ceil(n / stride) - 1) stride + kernel - n zeros in all: half of them before, the odd one after.
    """

    def forward(self, input: Tensor) -> Tensor:  # N, C, H, W
        before_and_after: list[int] = []
        for axis in (1, 0):  # F.pad expects the last axis first
            n, kernel, stride = input.shape[2 + axis], self.kernel_size[axis], self.stride[axis]
            total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
            before_and_after += [total // 2, total - total // 2]
        return super().forward(F.pad(input, before_and_after))


def _norm(config: TransformerConfig, channels: int) -> InstanceNorm | nn.BatchNorm2d:
    if config.norm == "instance":
        return InstanceNorm(channels, eps=config.norm_eps, styles=config.styles)
    return nn.BatchNorm2d(channels, eps=config.norm_eps)


def _normalized(norm: nn.Module, x: Tensor, styles: Tensor | None) -> Tensor:
    result: Tensor = norm(x, styles) if isinstance(norm, InstanceNorm) else norm(x)
    return result


def _normalized_relu(norm: InstanceNorm | nn.BatchNorm2d, x: Tensor, styles: Tensor | None) -> Tensor:
    return norm(x, styles, relu=True) if isinstance(norm, InstanceNorm) else F.relu(norm(x), inplace=True)


def _conv(
    config: TransformerConfig, c_in: int, c_out: int, kernel: int, stride: int = 1, bias: bool = False
) -> nn.Conv2d:
    # A normalisation layer that follows a convolution cancels its bias, so there is none.
    if config.padding == "same" and stride > 1:  # with stride 1 it is the same as zero padding
        return SameConv2d(c_in, c_out, kernel, stride, bias=bias)
    if config.padding == "reflect":
        return ReflectConv2d(c_in, c_out, kernel, stride, bias=bias)
    return nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, bias=bias)


class ConvBlock(nn.Module):
    """Convolution, normalisation, ReLU."""

    def __init__(self, config: TransformerConfig, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = _conv(config, c_in, c_out, kernel, stride)
        self.norm = _norm(config, c_out)

    def forward(self, x: Tensor, styles: Tensor | None = None) -> Tensor:
        return _normalized_relu(self.norm, self.conv(x), styles)


class ResidualBlock(nn.Module):
    """Two convolutions around a skip connection, with no ReLU after the sum (Johnson 2016, supplement)."""

    def __init__(self, config: TransformerConfig, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(config, channels, channels, 3)
        self.norm1 = _norm(config, channels)
        self.conv2 = _conv(config, channels, channels, 3)
        self.norm2 = _norm(config, channels)

    def forward(self, x: Tensor, styles: Tensor | None = None) -> Tensor:
        y = _normalized_relu(self.norm1, self.conv1(x), styles)
        return torch.add(x, _normalized(self.norm2, self.conv2(y), styles))


class UpsampleBlock(nn.Module):
    """Double the size, or bring it to that of the matching encoder layer; then normalisation and ReLU."""

    def __init__(self, config: TransformerConfig, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if config.upsample == "transposed":
            # Row i contributes to rows 2i-1 to 2i+1 of the result; with TensorFlow's SAME padding to rows 2i to 2i+2.
            padding = 0 if config.padding == "same" else 1
            self.conv = nn.ConvTranspose2d(c_in, c_out, 3, stride=2, padding=padding, bias=False)
        else:
            self.conv = _conv(config, c_in, c_out, 3)
        self.norm = _norm(config, c_out)

    def forward(self, x: Tensor, size: tuple[int, int], styles: Tensor | None = None) -> Tensor:
        """Return x, of size (ceil(h / 2), ceil(w / 2)), upsampled to `size` = (h, w)."""
        if isinstance(self.conv, nn.ConvTranspose2d):
            if self.conv.padding == (0, 0):
                y = self.conv(x)[:, :, : size[0], : size[1]]  # of 2 ceil(h / 2) + 1 rows
            else:
                y = self.conv(x, output_size=list(size))
        else:
            # An odd side came from rounding up in the encoder: the last row or column is dropped again.
            if isinstance(self.conv, ReflectConv2d):
                # Padded here: as an argument of the layer the doubled picture, which is the largest of all, would
                # stay in memory until the convolution is done.
                padded = reflect_pad(double_size(x)[:, :, : size[0], : size[1]], self.conv.margin)
                y = self.conv(padded, padded=True)
                del padded
            else:
                y = self.conv(double_size(x)[:, :, : size[0], : size[1]])
        return _normalized_relu(self.norm, y, styles)


class TransformerNet(nn.Module):
    """Map photos to stylized photos of the same size in one forward pass.

    Input and output: float N, 3, H, W; RGB; 0 to 1; H and W of at least 16. The output is not clipped.
    A departure from Johnson et al.: they work on 0 to 255 with a tanh scaled by 150; here the unit range keeps
    the linear head well scaled at the default initialisation, and the tanh head is 0.5 + 150/255 tanh, the same.

    A network with several styles is for trainings, and needs the style of each photo: N whole numbers on the photos'
    device. `nst_core.nets.families` makes a network of one style from it, which everything else runs.
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
        self.head = _conv(config, w, 3, 9, bias=not config.head_norm)
        self.head_norm = _norm(config, 3) if config.head_norm else nn.Identity()
        if config.palette:  # for the pixels of the finished picture
            self.register_buffer(PALETTE, torch.zeros(config.tensor_shapes()[PALETTE]))
        # A start near mid-grey: a random head paints noise whose Gram losses are a hundred times any picture's.
        last = self.head_norm if config.head_norm else self.head
        nn.init.zeros_(last.get_parameter("bias"))
        last.get_parameter("weight").data.mul_(0.1)

    def forward(self, x: Tensor, styles: Tensor | None = None) -> Tensor:  # N, 3, H, W
        if (styles is None) != (self.config.styles == 1):
            raise ValueError("A network needs the styles of its photos if, and only if, it has several.")
        # Only the sizes of the encoder's layers are kept, so that their memory is freed early.
        y = self.down1(x, styles)  # N, w, H, W
        full = y.shape
        y = self.down2(y, styles)  # N, 2w, ceil(H/2), ceil(W/2)
        half = y.shape
        y = self.down3(y, styles)  # N, 4w, ceil(H/4), ceil(W/4)
        for block in self.residuals:
            y = block(y, styles)
        y = self.up1(y, self._upsampled_size(y, half), styles)
        y = self.up2(y, self._upsampled_size(y, full), styles)
        y = _cropped(
            _normalized(self.head_norm, self.head(y), styles),
            x.shape[2],
            x.shape[3],
            at_start=self.config.crop == "start",
        )
        return 0.5 + (y if self.config.output == "linear" else (150 / 255) * torch.tanh(y))

    def _upsampled_size(self, x: Tensor, encoded: torch.Size) -> tuple[int, int]:
        if self.config.crop == "layers":
            return encoded[2], encoded[3]
        return 2 * x.shape[2], 2 * x.shape[3]


def _cropped(x: Tensor, height: int, width: int, *, at_start: bool) -> Tensor:
    """Return the last or the first rows and columns of an N x C x H x W tensor."""
    return x[:, :, -height:, -width:] if at_start else x[:, :, :height, :width]
