"""Faces of photos, and whether they are found again in pictures.

The detector is the cascade of local binary patterns for frontal faces that comes with scikit-image (OpenCV's, BSD
licence). It is weak: it misses faces that are turned or small, and in rare cases takes something else for one.
"""

import numpy as np
from skimage import data
from skimage.feature import Cascade

from nst_core.looks.planes import Pixels
from nst_core.looks.similarity import ssim
from nst_core.nets.tensors import to_tensor

#: A square with its top, left and side, in pixels.
Square = tuple[int, int, int]
_SMALLEST_PX, _LARGEST_SHARE = 40, 0.9


class FaceDetector:
    """Finds faces that look at the camera."""

    def __init__(self) -> None:
        """Load the cascade."""
        self._cascade = Cascade(data.lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]

    def __call__(self, picture: Pixels) -> list[Square]:
        """Return the faces of an H x W x 3 picture."""
        found = self._cascade.detect_multi_scale(
            img=picture,
            scale_factor=1.1,
            step_ratio=1,
            min_size=(_SMALLEST_PX, _SMALLEST_PX),
            max_size=(int(_LARGEST_SHARE * min(picture.shape[:2])),) * 2,
        )
        return [(each["r"], each["c"], each["width"]) for each in found]


def same(one: Square, other: Square) -> bool:
    """Return whether two squares share more than a third of what they cover together."""
    ends = [min(a + one[2], b + other[2]) - max(a, b) for a, b in zip(one[:2], other[:2], strict=True)]
    shared = max(0, ends[0]) * max(0, ends[1])
    return shared > (one[2] ** 2 + other[2] ** 2 - shared) / 3


def similarity_inside(photo: Pixels, picture: Pixels, faces: list[Square]) -> float:
    """Return the mean structural similarity inside of the faces."""
    parts = [(slice(top, top + side), slice(left, left + side)) for top, left, side in faces]
    return float(np.mean([ssim(to_tensor(photo[part].copy()), to_tensor(picture[part].copy())) for part in parts]))
