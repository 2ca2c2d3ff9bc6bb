"""The colours of a painting, for those that a network paints.

A network comes near its painting in many ways at once, and never all the way: what it paints is paler, its darkest
tones are lighter, and colours that a painting has in few places are missing. So a style has a palette, a table with
the painting's colour for each of 9 x 9 x 9 colours of the network; those in between are interpolated. It is the same
for all pixels of all photos, so that parts of a picture fit together, and frames of a video do. See `training.palettes`
for how it is made.

All numbers are whole, and the results the same on every machine.
"""

import numpy as np
import numpy.typing as npt
import torch

from nst_core.nets import native
from nst_core.nets.transformer_config import PALETTE_NODES, PALETTE_STEP

Pixels = npt.NDArray[np.uint8]
#: Parts of a level in the table.
_PARTS = 32
#: Levels that nodes may have. Some are no colours, but those between them and others are.
_LEAST, _MOST = -512, 767
#: The shares of eight nodes sum to 32^3, and levels have 32 parts.
_BITS = 20
#: Pixels at a time without a compiler.
_PIXELS = 1 << 16


class Palette:
    """A table of colours, ready to use."""

    def __init__(self, offsets: npt.NDArray[np.floating]) -> None:
        """Take what is added to the colours at the nodes, PALETTE_NUMBERS, as shares of 255."""
        levels = np.nan_to_num(np.asarray(offsets, np.float64).reshape(-1, 3)) * 255 + node_colours()
        self._table = np.zeros((len(levels), 4), np.int32)
        self._table[:, :3] = np.rint(levels.clip(_LEAST, _MOST) * _PARTS)

    def __call__(self, pixels: Pixels) -> None:
        """Change the colours of pixels, ... x 3, where they are; raise ValueError unless they are contiguous."""
        if not (pixels.flags.c_contiguous and pixels.flags.writeable):
            raise ValueError("A palette changes pixels where they are, in memory that is contiguous and not read-only.")
        flat = pixels.reshape(-1, 3)
        if native.library() is not None:
            native.call("recolour", torch.from_numpy(flat), torch.from_numpy(self._table), len(flat))
            return
        for start in range(0, len(flat), _PIXELS):
            part = flat[start : start + _PIXELS]
            part[:] = self._mixed(part)

    def _mixed(self, pixels: Pixels) -> Pixels:
        """Return the colours that pixels, N x 3, become."""
        nodes, places = (each.astype(np.int32).T for each in divmod(pixels, np.uint8(PALETTE_STEP)))
        first = (nodes[0] * PALETTE_NODES + nodes[1]) * PALETTE_NODES + nodes[2]
        shares = np.stack([PALETTE_STEP - places, places])  # of the node before and the one after, along each axis
        total = np.full((len(pixels), 3), 1 << (_BITS - 1), np.int32)
        for red, green, blue in np.ndindex(2, 2, 2):
            colours = self._table[:, :3].take(first + (red * PALETTE_NODES + green) * PALETTE_NODES + blue, axis=0)
            colours *= (shares[red, 0] * shares[green, 1] * shares[blue, 2])[:, None]
            total += colours
        return (total >> _BITS).clip(0, 255).astype(np.uint8)


def node_colours() -> npt.NDArray[np.float64]:
    """Return the colours at the nodes, N x 3, as levels; the last ones are 256."""
    levels = np.arange(PALETTE_NODES, dtype=np.float64) * PALETTE_STEP
    return np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
