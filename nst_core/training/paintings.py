"""What a painting must be, so that a style can be learned from it. Never loads torch."""

from nst_core.errors import ImageTooSmallError
from nst_core.images.picture import DEFAULT_MIN_SIDE_PX

#: What schedulers take.
MAX_PAINTING_BYTES = 64 * 2**20
#: A smaller picture has no strokes that could be learned.
MIN_PAINTING_PX = 64


def style_size(size: tuple[int, int], longest_px: int) -> tuple[int, int]:
    """Return the (width, height) of a painting whose longest side gets `longest_px` pixels.

    Raises ImageTooSmallError if the shorter side has fewer pixels then than networks need.
    """
    scale = longest_px / max(size)
    width, height = (round(side * scale) for side in size)
    if min(width, height) < DEFAULT_MIN_SIDE_PX:
        raise ImageTooSmallError(
            f"With a longest side of {longest_px:,} pixels the painting has {width:,} x {height:,}; each side must "
            f"have at least {DEFAULT_MIN_SIDE_PX}."
        )
    return width, height
