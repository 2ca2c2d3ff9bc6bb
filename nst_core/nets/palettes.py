"""The colours of a painting, for those that a network paints.

A network comes near its painting in many ways at once, and never all the way: what it paints is paler, its darkest
tones are lighter, and colours that a painting has in few places are missing. So a style has a palette, a table with
the painting's colour for each of 9 x 9 x 9 colours of the network; those in between are interpolated. It is the same
for all pixels of all photos, so that parts of a picture fit together, and frames of a video do. See `training.palettes`
for how it is made.

Colours go through the table before they are rounded to bytes: it spreads some of them, and would spread the steps
between whole levels, too.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nst_core.nets import native
from nst_core.nets.tensors import to_uint8
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.transformer_config import PALETTE, PALETTE_NODES, PALETTE_STEP

#: Levels that nodes may have. Some are no colours, but those between them and others are.
_LEAST, _MOST = -512.0, 767.0
#: The output function of the kernel `paint` for levels.
_LEVELS = 2


class Palette:
    """A table of colours, on a device."""

    def __init__(self, offsets: Tensor) -> None:
        """Take what is added to the colours at the nodes, PALETTE_NUMBERS, as shares of 255; NaN adds nothing."""
        colours = offsets.detach().reshape(-1, 3).nan_to_num() * 255 + node_colours().to(offsets.device)
        #: The levels of R, G, B at each node, and 0, as kernels read them.
        self.table = F.pad(colours.clamp(_LEAST, _MOST).float(), (0, 1)).contiguous()

    @classmethod
    def of(cls, net: TransformerNet) -> "Palette | None":
        """Return the palette of a network of one style, on its device, or None if it has none."""
        return cls(net.get_buffer(PALETTE)) if net.config.palette else None

    def __call__(self, levels: Tensor) -> Tensor:
        """Return pixels, uint8, for levels from 0 to 255, float32, on the same device: H x W x 3 each."""
        nodes = self.table[:, :3].view(*[PALETTE_NODES] * 3, 3).permute(3, 0, 1, 2)  # colour, red, green, blue
        places = levels.flip(-1) * (2 / (PALETTE_STEP * (PALETTE_NODES - 1))) - 1  # blue first, -1 to 1
        mixed = F.grid_sample(nodes[None], places[None, None], align_corners=True)[0, :, 0]  # 3, H, W
        return mixed.clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0)

    def by_kernel(self, levels: Tensor) -> Tensor:
        """Return the pixels, on the CPU: sooner where kernels can be compiled, and rounded otherwise now and then."""
        if native.library() is None:
            return self(levels)
        levels = levels.contiguous()
        pixels = torch.empty(levels.shape, dtype=torch.uint8)
        native.call("paint", levels, self.table, pixels, levels.numel() // 3, _LEVELS)
        return pixels


def finished(image: Tensor, palette: Palette | None) -> Tensor:
    """Return a 1 x 3 x H x W picture, around 0 to 1, as H x W x 3 uint8: in the colours of a palette, if there is one.

    Colours outside of 0 to 1 are clipped before.
    """
    if palette is None:
        return to_uint8(image)[0]
    return palette(image[0].float().clamp(0, 1).mul(255).permute(1, 2, 0))


def node_colours() -> Tensor:
    """Return the colours at the nodes, N x 3, as levels; the last ones are 256."""
    levels = torch.arange(PALETTE_NODES, dtype=torch.float32) * PALETTE_STEP
    return torch.stack(torch.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
