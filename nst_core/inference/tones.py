"""The photo's own drawing in the tones of its painted picture, so that a face stays a face and belongs to the picture.

The photo mixed with the painted picture would be a photo in a painting: skin of another colour and another light. So
each grey level of the photo becomes the one that is as dark among those of the painted picture, and gets the colour
that this has there on average, and a little of the photo's own. Both are measured around the face: beside a white wall
a face is dark, and would be as dark as the darkest strokes on the painted wall.

Grey levels are matched as in Gonzalez, Woods, "Digital Image Processing", section "Histogram matching". Never loads
torch: it runs beside the network on other threads, and gives the same bytes on every processor.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from nst_core.inference.blend import Weight, bands, stretched
from nst_core.inference.luminance import PARTS, grey_levels, luminance
from nst_core.inference.row_ranges import strips
from nst_core.inference.stylizer import Pixels

#: How much of its own colour the photo keeps, so that lips stay redder than cheeks; less in a picture of weak colours.
_OWN_COLOUR = 0.35
#: What is near faces is measured at about so many pixels at least, if it has them, in even steps.
_MEASURED = 250_000
#: Places are looked for in strips of so many pixels.
_STRIP_PIXELS = 2**18
#: In grey levels: colours are means around a level, and levels that few pixels have are not torn apart.
_COLOUR_RADIUS, _LEVEL_RADIUS = 12, 8
_LEVELS = np.arange(256.0)
_TINY = 1e-9
#: The share of a channel in luminance, as `luminance` has it.
_SHARES = np.array([77, 150, 29]) / 256

_Numbers = npt.NDArray[np.float64]


def toned(photo: Pixels, painted: Pixels, weight: Weight, near: Weight, *, share: float = 1.0) -> Pixels:
    """Return an H x W x 3 painted picture with the photo's drawing in its tones, in the memory of the painted picture.

    `weight` and `near` may be of any size and are stretched to the pictures. `weight` is 255 for the painted picture,
    and 0 for the photo in its tones. Tones are measured where `near` is at least 128, or in the whole picture if there
    is no such place. `share` is how much of the drawing is in these tones; the rest is the photo itself.
    """
    measured = _measured(photo, painted, near)
    table, own_colour = _tones(*measured).astype(np.float32), np.float32(_own_colour(*measured))
    result = np.require(painted, requirements=["C", "W"])
    for rows in bands(result):
        painting = stretched(weight, rows, result.shape) / np.float32(255)
        columns = np.flatnonzero((painting < 1).any(axis=0))
        if not len(columns):
            continue
        part = slice(columns[0], columns[-1] + 1)
        painting, own = painting[:, part], photo[rows, part]
        tones, grey = table[luminance(own)], grey_levels(own)
        for channel in range(3):
            colour = own[..., channel] - grey
            drawn = np.clip(tones[..., channel] + own_colour * colour, 0, 255)
            drawn = own[..., channel] + np.float32(share) * (drawn - own[..., channel])
            before = result[rows, part, channel].astype(np.float32)
            result[rows, part, channel] = np.rint(drawn + (before - drawn) * painting)
    return result


def _measured(photo: Pixels, painted: Pixels, near: Weight) -> tuple[Pixels, Pixels]:
    """Return pixels of both pictures, N x 1 x 3, from the places that are measured, in some order."""
    step = _step(photo, float((near >= 128).mean()) or 1.0)
    sampled, of_painted = photo[::step, ::step], painted[::step, ::step]
    found = [(sampled[:, part][there], of_painted[:, part][there]) for part, there in _places(near, sampled.shape)]
    if not found:
        # Steps for a small part would be too small for the whole.
        step = _step(photo, 1.0)
        return photo[::step, ::step].reshape(-1, 1, 3), painted[::step, ::step].reshape(-1, 1, 3)
    first, second = (np.concatenate(each)[:, None] for each in zip(*found, strict=True))
    return first, second


def _step(photo: Pixels, part: float) -> int:
    """Return the steps in which a photo is measured, of which a part counts."""
    return max(1, int((photo.shape[0] * photo.shape[1] * part / _MEASURED) ** 0.5))


def _places(near: Weight, shape: tuple[int, ...]) -> Iterator[tuple[slice, npt.NDArray[np.bool_]]]:
    """Yield columns of a picture of a shape, and where in them `near` is at least 128 if it is stretched to it."""
    height, width = shape[:2]
    # Pillow stretches rows and then each column by itself, so that a few columns are as they would be among all.
    wide = np.asarray(Image.fromarray(near).resize((width, near.shape[0]), Image.Resampling.BILINEAR))
    columns = np.flatnonzero((wide >= 128).any(axis=0))
    if not len(columns):
        return
    for part in strips(columns[-1] + 1 - columns[0], max(1, _STRIP_PIXELS // height)):
        of_part = slice(columns[0] + part.first, columns[0] + part.end)
        tall = Image.fromarray(wide[:, of_part]).resize((len(part), height), Image.Resampling.BILINEAR)
        there = np.asarray(tall) >= 128
        if there.any():
            yield of_part, there


def _tones(photo: Pixels, painted: Pixels) -> _Numbers:
    """Return the colours, (255 PARTS + 1) x 3, for each luminance of the photo."""
    grey = _whole_levels(painted)
    counts, of_photo = (np.bincount(levels, minlength=256) for levels in (grey, _whole_levels(photo)))
    # Sums of whole numbers are exact, whatever their order; means around a level come after.
    sums = [np.bincount(grey, painted[..., channel].ravel(), minlength=256) for channel in range(3)]
    means = np.stack([_mean_around(each, counts, _COLOUR_RADIUS) for each in sums], 1)
    # Colours of exactly their level: greys where the painted picture has nothing near.
    colours = means + (_LEVELS - (means * _SHARES).sum(1))[:, None]
    least, most = np.flatnonzero(counts)[[0, -1]]
    matched = np.clip(np.interp(_ranks(of_photo), _ranks(counts), _LEVELS), least, most)
    matched = _mean_around(matched * of_photo, of_photo, _LEVEL_RADIUS)
    # A level that no measured pixel has is between those that some have.
    known = np.flatnonzero(of_photo)
    at = np.interp(np.arange(255 * PARTS + 1) / PARTS, known, matched[known])
    return np.stack([np.interp(at, _LEVELS, colours[:, channel]) for channel in range(3)], 1)


def _own_colour(photo: Pixels, painted: Pixels) -> float:
    """Return how much of its own colour the photo keeps: in a drawing in black ink, none."""
    of_photo, of_painted = (int(np.ptp(picture, axis=2).sum(dtype=np.int64)) for picture in (photo, painted))
    return _OWN_COLOUR * min(1.0, of_painted / max(1, of_photo))


def _whole_levels(picture: Pixels) -> npt.NDArray[np.int64]:
    return ((luminance(picture).astype(np.int64) + PARTS // 2) // PARTS).ravel()


def _ranks(counts: npt.NDArray[np.int64]) -> _Numbers:
    """Return the share of the pixels that are darker than the middle of each level."""
    return np.asarray((np.cumsum(counts) - counts / 2) / counts.sum())


def _mean_around(sums: npt.NDArray[np.number], counts: npt.NDArray[np.number], radius: int) -> _Numbers:
    """Return the means of all that is near each level, and most of all what is at it; 0 where nothing is."""
    near, near_counts = _near(sums, radius), _near(counts, radius)
    return np.asarray(near / np.maximum(near_counts, _TINY) * (near_counts > _TINY))


def _near(values: npt.NDArray[np.number], radius: int) -> _Numbers:
    """Return sums over 2 r + 1 levels, twice."""
    result = np.asarray(values, np.float64)
    for _ in range(2):
        padded = np.pad(result, radius)
        result = np.asarray(sum(padded[start : start + 256] for start in range(2 * radius + 1)))
    return result
