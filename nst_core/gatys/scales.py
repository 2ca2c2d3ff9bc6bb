"""The sizes of an optimisation, from coarse to fine, and resizing.

Sizes are (height, width), in pixels.
"""

from torch import Tensor
from torch.nn import functional as F

from nst_core.errors import ConfigError, ImageTooLargeError, ImageTooSmallError
from nst_core.gatys.config import GatysConfig

Size = tuple[int, int]


def size_of(image: Tensor) -> Size:
    """Return height and width of N x C x H x W."""
    return image.shape[-2], image.shape[-1]


def fitted(size: Size, long_side_px: float) -> Size:
    """Return the size with another longest side and, but for rounding, the same proportions."""
    factor = long_side_px / max(size)
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def scale_sizes(config: GatysConfig, content: Size, *, max_pixels: int) -> list[Size]:
    """Return the sizes from the coarsest to the last, without those that are too small for the loss network.

    Raises ImageTooSmallError if the last is too small, ImageTooLargeError if it has more than `max_pixels`.
    """
    longest = config.size_px or max(content)
    steps = range(config.scales - 1, -1, -1)
    sizes = [fitted(content, longest / config.scale_ratio**step) for step in steps]
    check_size("The picture", sizes[-1], min_side_px=config.min_side_px, max_pixels=max_pixels)
    return [size for size in sizes if min(size) >= config.min_side_px]


def style_size(config: GatysConfig, style: Size, *, content: Size, last: Size, max_pixels: int) -> Size:
    """Return the size of a style picture for a scale of size `content`; `last` is the size of the last scale.

    At earlier scales it is proportionally smaller, but not too small for the loss network. Raises ImageTooSmallError or
    ImageTooLargeError as `scale_sizes` does.
    """
    longest = config.style_size_px or config.style_scale * max(last)
    check_size("The style picture", fitted(style, longest), min_side_px=config.min_side_px, max_pixels=max_pixels)
    smallest = config.min_side_px * max(style) / min(style)
    return fitted(style, max(longest * max(content) / max(last), min(longest, smallest)))


def check_size(what: str, size: Size, *, min_side_px: int, max_pixels: int) -> None:
    """Raise ImageTooSmallError or ImageTooLargeError if a size is not within the limits."""
    height, width = size
    if height * width > max_pixels:
        raise ImageTooLargeError(
            f"{what} would have {width:,} x {height:,} pixels; the limit is {max_pixels:,} in all."
        )
    if min(size) < min_side_px:
        raise ImageTooSmallError(
            f"{what} would have {width:,} x {height:,} pixels; each side must have at least {min_side_px}."
        )


def resize(image: Tensor, size: Size) -> Tensor:
    """Return pictures in another size, bicubic and antialiased, within 0 to 1; unchanged if they have it."""
    if size_of(image) == size:
        return image
    return F.interpolate(image, size, mode="bicubic", antialias=True).clamp(0, 1)


def resize_guide(guide: Tensor, size: Size) -> Tensor:
    """Return a guide in another size: the mean over the area of each new position."""
    return F.interpolate(guide, size, mode="area")


def check_picture(what: str, image: Tensor) -> None:
    """Raise ConfigError unless a tensor is one RGB picture of finite numbers, 1 x 3 x H x W."""
    if image.ndim != 4 or image.shape[:2] != (1, 3) or not min(image.shape) or not image.is_floating_point():
        raise ConfigError(f"{what} must be 1 x 3 x H x W of floating-point numbers, not {tuple(image.shape)}.")
    if not image.isfinite().all():
        raise ConfigError(f"{what} has values that are not finite.")


def check_guide(what: str, guide: Tensor | None, size: Size) -> None:
    """Raise ConfigError unless a guide is None or 1 x 1 x H x W of that size, 0 to 1 and not 0 everywhere."""
    if guide is None:
        return
    if tuple(guide.shape) != (1, 1, *size):
        wanted = f"1 x 1 x {size[0]} x {size[1]}"
        raise ConfigError(f"{what} must be {wanted}, as large as its picture, not {tuple(guide.shape)}.")
    if not guide.is_floating_point() or not ((guide >= 0) & (guide <= 1)).all() or not guide.any():
        raise ConfigError(f"{what} must have values from 0 to 1, and one above 0.")
