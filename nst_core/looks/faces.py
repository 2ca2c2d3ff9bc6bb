"""Measures whether the faces of a photo are still faces in its picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nst_core.faces.face import Face
from nst_core.looks.planes import Pixels
from nst_core.looks.similarity import ssim
from nst_core.nets.tensors import to_tensor

#: Only these faces of a photo count: surer than those that a JPEG file of quality 20, half of the size or a blur of
#: 1.5 px already hides from the detector.
CLEAR = 0.85
#: A face is found again if both boxes overlap this much. After those harmless changes the boxes of a face overlap by
#: 0.64 and more, in nine of ten cases by 0.78; the boxes of two faces by 0.3 at most.
SAME_FACE = 0.5
#: SSIM needs this many pixels.
_LEAST_PX = 11


@dataclass(frozen=True, kw_only=True)
class KeptFaces:
    """What a picture has kept of the faces of its photo."""

    #: Clear faces of the photo, and those of them found again in the picture.
    in_photo: int
    in_picture: int
    #: Mean structural similarity inside of these faces; None if none has 11 x 11 px.
    ssim: float | None


def compare_faces(photo: Pixels, picture: Pixels, faces: Sequence[Face], found: Sequence[Face]) -> KeptFaces:
    """Compare the faces found in a photo with those found in its picture, which has the photo's size."""
    clear = [face for face in faces if face.score >= CLEAR]
    again = sum(any(face.overlap(other) >= SAME_FACE for other in found) for face in clear)
    values = [value for face in clear if (value := _similarity(photo, picture, face)) is not None]
    return KeptFaces(in_photo=len(clear), in_picture=again, ssim=float(np.mean(values)) if values else None)


def _similarity(photo: Pixels, picture: Pixels, face: Face) -> float | None:
    """Return the structural similarity inside of a face's box, where that is on the photo."""
    rows = slice(max(0, round(face.top)), max(0, round(face.bottom)))
    columns = slice(max(0, round(face.left)), max(0, round(face.right)))
    if min(photo[rows, columns].shape[:2]) < _LEAST_PX:
        return None
    return ssim(*(to_tensor(np.ascontiguousarray(each[rows, columns])) for each in (photo, picture)))
