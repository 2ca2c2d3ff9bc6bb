"""Johnson's network as programs like pytorch/examples' fast_neural_style have it: a baseline for benchmarks."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nst_core.nets.transformer import TransformerNet


class PlainConv(nn.Module):
    """Reflection padding and convolution, after nearest-neighbour upsampling if wanted, and instance norm."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, *, stride: int = 1, upsample: bool = False, norm: bool = True
    ):
        super().__init__()
        self.upsample = upsample
        self.pad = nn.ReflectionPad2d(kernel // 2)
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, bias=not norm)
        self.norm = nn.InstanceNorm2d(c_out, affine=True) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.upsample:
            x = F.interpolate(x, mode="nearest", scale_factor=2)
        result: Tensor = self.norm(self.conv(self.pad(x)))
        return result


class PlainNet(nn.Module):
    """Johnson's network, layer by layer."""

    def __init__(self) -> None:
        super().__init__()
        self.downs = nn.ModuleList(
            [PlainConv(3, 32, 9), PlainConv(32, 64, 3, stride=2), PlainConv(64, 128, 3, stride=2)]
        )
        self.blocks = nn.ModuleList(nn.ModuleList([PlainConv(128, 128, 3) for _ in range(2)]) for _ in range(5))
        self.ups = nn.ModuleList([PlainConv(128, 64, 3, upsample=True), PlainConv(64, 32, 3, upsample=True)])
        self.head = PlainConv(32, 3, 9, norm=False)

    def forward(self, x: Tensor) -> Tensor:
        for down in self.downs:
            x = F.relu(down(x))
        for block in self.blocks:
            first, second = cast(nn.ModuleList, block)
            x = x + second(F.relu(first(x)))
        for up in self.ups:
            x = F.relu(up(x))
        return 0.5 + 150 / 255 * torch.tanh(self.head(x))

    def take(self, net: TransformerNet) -> None:
        """Copy the weights of our network, whose layers have the same order."""
        with torch.no_grad():
            for own, given in zip(self.parameters(), net.parameters(), strict=True):
                own.copy_(given)
