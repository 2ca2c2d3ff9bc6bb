"""Colours: conversion to sRGB, resizing, and the colours of transparent pixels."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

Array = np.ndarray[Any, Any]
#: What becomes transparent is divided by this instead of by nothing.
_LEAST_OPACITY = 0.5
#: Rows that are computed at once.
_ROWS = 256


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
    # In floats: bytes of a colour times a faint opacity would have a few levels only. One channel after the other,
    # since floats take four times as much memory.
    opacity = _reduced(alpha.convert("F"), size)
    channels = [_reduced_channel(rgb, band, alpha, opacity) for band in range(3)]
    return Image.merge("RGB", channels), _by_rows("L", _rounded, opacity)


def _reduced_channel(rgb: Image.Image, band: int, alpha: Image.Image, opacity: Image.Image) -> Image.Image:
    """Return the mean, weighted by the opacity, of a channel in the size of the reduced opacity."""

    def product(colours: Array, weights: Array) -> Array:
        result: Array = np.multiply(colours[..., band], weights, dtype=np.float32)
        return result

    def quotient(sums: Array, weights: Array) -> Array:
        return _rounded(sums / weights.clip(_LEAST_OPACITY))

    sums = _reduced(_by_rows("F", product, rgb, alpha), opacity.size)
    return _by_rows("L", quotient, sums, opacity)


def _by_rows(mode: str, compute: Callable[..., Array], *images: Image.Image) -> Image.Image:
    """Return what is computed of images of one size, some rows at a time: no whole image is copied."""
    width, height = images[0].size
    result = Image.new(mode, (width, height))
    for top in range(0, height, _ROWS):
        parts = [np.asarray(each.crop((0, top, width, min(top + _ROWS, height)))) for each in images]
        result.paste(Image.fromarray(compute(*parts)), (0, top))
    return result


def _rounded(values: Array) -> Array:
    result: Array = np.rint(values.clip(0, 255)).astype(np.uint8)
    return result


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
