"""Colours: conversion to sRGB, resizing, and the colours of transparent pixels."""

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms


def to_srgb(colour: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert an image with a colour profile to sRGB; without a valid profile, it is taken for sRGB."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(BytesIO(icc))
            converted = ImageCms.profileToProfile(colour, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            pass  # for example, a profile for another number of channels
    return colour if colour.mode == "RGB" else colour.convert("RGB")


def resized(
    rgb: Image.Image, alpha: Image.Image | None, size: tuple[int, int]
) -> tuple[Image.Image, Image.Image | None]:
    """Return colours and opacity in a smaller size. Transparent pixels do not mix into the colours around them."""
    if rgb.size == size:
        return rgb, alpha
    if alpha is None:
        return _reduced(rgb, size), None
    rgba = rgb.copy()
    rgba.putalpha(alpha)
    rgba = _reduced(rgba.convert("RGBa"), size).convert("RGBA")
    return rgba.convert("RGB"), rgba.getchannel("A")


def _reduced(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    # A gap of 3 is as good as no gap to the eye, and several times faster for large reductions.
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def filled(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    """Return colours in which fully transparent pixels have the colours of the pixels around them.

    Their own colours are invisible and arbitrary, usually black, and a network would paint the edges of such areas
    into visible pixels. If all pixels are transparent, nothing changes.
    """
    lowest, highest = alpha.getextrema()
    if lowest != 0 or highest == 0:
        return rgb
    # Reduce the visible pixels step by step to a single one, then go back up: each gap gets its colour from the next
    # smaller level.
    full = rgb.copy()
    full.putalpha(alpha)
    level = full.convert("RGBa")
    del full
    levels = []
    while max(level.size) > 1:
        level = level.reduce(2)
        levels.append(level)
    below: Image.Image | None = None
    for level in reversed(levels):
        colour = level.convert("RGBA")
        below = _with_gaps_from(colour.convert("RGB"), colour.getchannel("A"), below)
    return _with_gaps_from(rgb, alpha, below)


def _with_gaps_from(rgb: Image.Image, alpha: Image.Image, below: Image.Image | None) -> Image.Image:
    if below is None:
        return rgb
    result = below.resize(rgb.size, Image.Resampling.BILINEAR)
    result.paste(rgb, mask=alpha.point([0] + [255] * 255))
    return result


def on_white(rgb: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8]) -> Image.Image:
    """Return colours on a white background."""
    white = Image.new("RGB", (rgb.shape[1], rgb.shape[0]), "white")
    white.paste(Image.fromarray(rgb), mask=Image.fromarray(alpha))
    return white
