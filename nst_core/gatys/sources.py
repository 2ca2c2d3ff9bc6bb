"""Style pictures, where each applies, and their preparation for an optimisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from nst_core.errors import ConfigError
from nst_core.gatys.color import luminance, match_colors, match_luminance
from nst_core.gatys.config import GatysConfig
from nst_core.gatys.scales import Size, check_guide, check_picture, resize, size_of, style_size
from nst_core.gatys.targets import PreparedStyle


@dataclass(frozen=True, kw_only=True, eq=False)
class StyleSource:
    """A style picture.

    The losses of all styles are summed, each times its weight. Two styles of weight 1 pull twice as hard as one, so the
    weights of a blend should sum to 1. A weight of 0 leaves a style out.
    """

    #: 1 x 3 x h x w, RGB in 0 to 1.
    image: Tensor
    weight: float = 1.0
    #: Where the style applies: 1 x 1 x H x W in 0 to 1, of the content picture's size; None means everywhere.
    region: Tensor | None = None
    #: The used part of the style picture: 1 x 1 x h x w in 0 to 1; None means all of it.
    style_region: Tensor | None = None


def check_sources(config: GatysConfig, styles: Sequence[StyleSource], content: Size) -> list[StyleSource]:
    """Return the styles whose weight is not 0; raise ConfigError if one is unusable, or none is left but needed."""
    for number, style in enumerate(styles, 1):
        check_picture(f"The picture of style {number}", style.image)
        if not 0 <= style.weight < float("inf"):
            raise ConfigError(f"The weight of style {number} must be at least 0, not {style.weight!r}.")
        check_guide(f"The region of style {number}", style.region, content)
        check_guide(f"The style region of style {number}", style.style_region, size_of(style.image))
        if config.active("mrf") and (style.region is not None or style.style_region is not None):
            raise ConfigError(f"Style {number} has a region, and the mrf term, whose patches overlap, can have none.")
    used = [style for style in styles if style.weight > 0]
    if not used and (config.uses_style or config.initial == "style"):
        raise ConfigError("An optimisation with style terms needs a style whose weight is above 0.")
    return used


def prepare_content(config: GatysConfig, content: Tensor, size: Size) -> Tensor:
    """Return the content picture in a size, as the optimisation sees it: with one channel if only luminance counts."""
    image = resize(content, size)
    return luminance(image) if config.color == "luminance" else image


def largest_pixels(
    config: GatysConfig, styles: Sequence[StyleSource], *, size: Size, last: Size, max_pixels: int
) -> int:
    """Return the pixels of the largest picture at the scale of the size `size`: the result or a style picture.

    `last` is the size of the last scale. Raises ImageTooSmallError or ImageTooLargeError as `style_size` does.
    """
    sizes = [
        style_size(config, size_of(style.image), content=size, last=last, max_pixels=max_pixels) for style in styles
    ]
    return max(map(prod, [size, *sizes]))


def prepare_styles(
    config: GatysConfig, styles: Sequence[StyleSource], *, content: Tensor, size: Size, last: Size, max_pixels: int
) -> list[PreparedStyle]:
    """Return the styles for the scale of the size `size`, on the device of the content picture.

    `content`: the content picture in its own colours; `last`: the size of the last scale.
    """

    def on_device(tensor: Tensor) -> Tensor:
        return tensor.detach().to(content.device, torch.float32)

    return [
        PreparedStyle(
            image=_prepared(
                config,
                resize(
                    on_device(style.image),
                    style_size(config, size_of(style.image), content=size, last=last, max_pixels=max_pixels),
                ),
                content,
            ),
            weight=style.weight,
            region=None if style.region is None else on_device(style.region),
            style_region=None if style.style_region is None else on_device(style.style_region),
        )
        for style in styles
    ]


def _prepared(config: GatysConfig, image: Tensor, content: Tensor) -> Tensor:
    """Return a style picture in the colours that it contributes, 1 or 3 channels.

    Recoloured styles are clipped to 0 to 1, since no result could have other values.
    """
    if config.color == "luminance":
        return match_luminance(image, content).clamp(0, 1)
    if config.color == "linear":
        return match_colors(image, content).clamp(0, 1)
    return image


def noise(config: GatysConfig, size: Size) -> Tensor:
    """Return white noise, uniform in 0 to 1, the same for the same seed on any device."""
    generator = torch.Generator().manual_seed(config.seed)
    channels = 1 if config.color == "luminance" else 3
    return torch.rand((1, channels, *size), generator=generator)
