"""Where the faces of a photo are, and how strongly they are painted if they are to stay faces. Never loads torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from nst_core.faces.face import Face

Weight = npt.NDArray[np.uint8]

#: How strongly the middle of a face is painted, 0 to 1; the rest is the photo's drawing in the tones of the painting.
#: Strokes break a small face, and a large one bears them: the first is for faces whose box has up to the first of these
#: shares of the photo's longest side, the second for those that have the second share, or more.
INSIDE, _CLEAR = (0.4, 0.6), (0.15, 0.45)
#: The ellipse of a face, in parts of its box: half of its width and height, and how much higher its middle is, because
#: boxes end at the brow. A wider one would keep a rim of the photo's background.
_ACROSS, _DOWN, _UP = 0.54, 0.66, 0.08
#: A small face is known by its head and hair: its ellipse is so much larger, fully for faces whose box has the first of
#: these shares of the photo's longest side, and not at all from the second one on.
_LARGER, _SMALL = 1.5, (0.04, 0.08)
#: In parts of the way from the middle to the ellipse: up to the first one painting is weakest, from the second one on
#: it is as strong as elsewhere. For what is kept away from faces, the ellipse is all face.
_SOFT, _AWAY = (0.5, 1.25), (1.0, 1.3)
#: The same for what is near a face: its hair, neck and some of what is behind it.
_NEAR = (1.6, 2.0)
#: The same for what is painted as a face.
_FACE = (0.95, 1.35)
#: Longest side of a plane, which is stretched to the photo: its edges are soft.
_PLANE_PX = 640


@dataclass(frozen=True)
class Protection:
    """What `nst_core.inference.tones` needs of the faces of a photo that are to stay faces."""

    #: See `protect` and `near_faces`.
    weight: Weight
    near: Weight
    faces: tuple[Face, ...]

    @classmethod
    def of(
        cls, faces: Sequence[Face], *, height: int, width: int, opacity: Weight | None = None
    ) -> "Protection | None":
        """Return what protects the faces of a photo, or None if the photo has no faces."""
        if not faces:
            return None
        near = near_faces(faces, height=height, width=width, opacity=opacity)
        return cls(protect(faces, height=height, width=width), near, tuple(faces))


def protect(faces: Sequence[Face], *, height: int, width: int) -> Weight:
    """Return how strongly each place of a photo is painted, H' x W' to be stretched to height x width; 255 is fully."""
    shares = _shares(faces, (height, width), INSIDE, _SOFT)
    result: Weight = np.rint(255 * shares).astype(np.uint8)
    return result


def without_faces(faces: Sequence[Face], *, height: int, width: int) -> Weight:
    """Return where a photo has no faces, H' x W' to be stretched to height x width: 0 on faces, 255 around them."""
    shares = _shares(faces, (height, width), (0.0, 0.0), _AWAY)
    result: Weight = np.rint(255 * shares).astype(np.uint8)
    return result


def around(face: Face, *, height: int, width: int) -> tuple[slice, slice]:
    """Return the rows and columns of a height x width photo that a face is painted in; see `alone`."""
    left, top, right, bottom = map(round, (face.left, face.top, face.right, face.bottom))
    across, down = max(1, right - left), max(1, bottom - top)
    rows = _near((top + bottom) / 2 - _UP * down, _FACE[1] * _DOWN * down, height)
    return rows, _near((left + right) / 2, _FACE[1] * _ACROSS * across, width)


def alone(face: Face, *, height: int, width: int) -> Weight:
    """Return where a photo has a face, H' x W' to be stretched to height x width: 255 on the face, 0 around it."""
    result: Weight = np.rint(255 * (1 - _shares([face], (height, width), (0.0, 0.0), _FACE))).astype(np.uint8)
    return result


def near_faces(faces: Sequence[Face], *, height: int, width: int, opacity: Weight | None = None) -> Weight:
    """Return what is near the faces of a photo, H' x W' to be stretched to height x width: 255 there, 0 elsewhere.

    `opacity` of the photo, of any size, leaves out what cannot be seen.
    """
    shares = 1 - _shares(faces, (height, width), (0.0, 0.0), _NEAR)
    result: Weight = np.rint(255 * shares).astype(np.uint8)
    if opacity is None:
        return result
    visible = Image.fromarray(opacity).resize(result.shape[::-1], Image.Resampling.BILINEAR)
    seen: Weight = np.minimum(result, np.asarray(visible))
    return seen


def _shares(
    faces: Sequence[Face], photo: tuple[int, int], inside: tuple[float, float], soft: tuple[float, float]
) -> npt.NDArray[np.float32]:
    """Return a plane for a photo of a size: `inside` on small and large faces, 1 around them."""
    scale = min(1.0, _PLANE_PX / max(photo))
    size = max(1, round(photo[0] * scale)), max(1, round(photo[1] * scale))
    shares = np.ones(size, np.float32)
    for face in faces:
        _lower(shares, face, inside, soft, across=size[1] / photo[1], down=size[0] / photo[0])
    return shares


def _lower(
    shares: npt.NDArray[np.float32],
    face: Face,
    inside: tuple[float, float],
    soft: tuple[float, float],
    *,
    across: float,
    down: float,
) -> None:
    """Lower a plane inside of a face, whose coordinates are to be multiplied by `across` and `down`."""
    # Whole pixels: no difference of processors in the last digits of a box is to change a result.
    left, top, right, bottom = map(round, (face.left, face.top, face.right, face.bottom))
    width, height = max(1, right - left) * across, max(1, bottom - top) * down
    share = width / max(shares.shape)
    size, lowest = _between(share, _SMALL, (_LARGER, 1.0)), _between(share, _CLEAR, inside)
    radius_x, radius_y = size * _ACROSS * width, size * _DOWN * height
    middle_x, middle_y = (left + right) / 2 * across, (top + bottom) / 2 * down - size * _UP * height
    rows = _near(middle_y, soft[1] * radius_y, shares.shape[0])
    columns = _near(middle_x, soft[1] * radius_x, shares.shape[1])
    y, x = (np.arange(part.start, part.stop, dtype=np.float32) + 0.5 for part in (rows, columns))
    away = np.hypot(((y - middle_y) / radius_y)[:, None], (x - middle_x) / radius_x)
    edge = np.clip((away - soft[0]) / (soft[1] - soft[0]), 0, 1)
    part = shares[rows, columns]
    np.minimum(part, lowest + (1 - lowest) * edge * edge * (3 - 2 * edge), out=part)


def _between(share: float, shares: tuple[float, float], values: tuple[float, float]) -> float:
    """Return the value for the share of a face in the photo's longest side, between those for two shares."""
    far = min(1.0, max(0.0, (share - shares[0]) / (shares[1] - shares[0])))
    return values[0] + (values[1] - values[0]) * far


def _near(middle: float, reach: float, count: int) -> slice:
    """Return the pixels of a side, of so many, that are nearer to a place than `reach`."""
    first = min(count, max(0, int(middle - reach)))
    return slice(first, max(first, min(count, int(middle + reach) + 1)))
