"""A preview sheet of a style: the painting, and photos next to their stylizations."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from nst_core.images import Picture

Pixels = npt.NDArray[np.uint8]

CELL_PX = 480
_GAP_PX = 12
_PAPER = (250, 249, 246)


def preview_sheet(painting: Pixels, pairs: Sequence[tuple[Pixels, Pixels]]) -> Picture:
    """Return the painting above rows of a photo and its picture, H x W x 3 uint8 each, two pairs in a row.

    Each row is as high as its flattest picture lets it be, so that nothing is cropped.
    """
    across = 4 * CELL_PX + 3 * _GAP_PX
    rows = [[painting, *pairs[0]] if pairs else [painting]]
    rest = [image for pair in pairs[1:] for image in pair]
    rows += [rest[start : start + 4] for start in range(0, len(rest), 4)]
    strips = [_row(row, across) for row in rows]
    height = sum(strip.height for strip in strips) + _GAP_PX * (len(strips) + 1)
    sheet = Image.new("RGB", (across + 2 * _GAP_PX, height), _PAPER)
    top = _GAP_PX
    for strip in strips:
        sheet.paste(strip, (_GAP_PX, top))
        top += strip.height + _GAP_PX
    return Picture(rgb=np.array(sheet))


def _row(images: Sequence[Pixels], across: int) -> Image.Image:
    """Return pictures side by side, of one height, as wide as the sheet or as high as a cell."""
    ratios = [image.shape[1] / image.shape[0] for image in images]
    room = across - _GAP_PX * (len(images) - 1)
    height = max(1, min(CELL_PX, int(room / sum(ratios))))
    strip = Image.new("RGB", (across, height), _PAPER)
    left = 0
    for image, ratio in zip(images, ratios, strict=True):
        width = max(1, int(height * ratio))  # rounded up, the last one might not fit
        strip.paste(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS), (left, 0))
        left += width + _GAP_PX
    return strip
