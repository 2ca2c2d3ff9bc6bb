"""Finds the faces on a photo of any size."""

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from nst_core.faces.face import Face, without_repeats
from nst_core.faces.network import LANDMARKS, STRIDES, FaceNet, Level, load_face_net
from nst_core.nets.tensors import to_tensor

Pixels = npt.NDArray[np.uint8]

#: The longest side of the copy that is searched. Faces are found from about 10 px of it on.
SEARCHED_PX = 640
#: What is less sure is no face: on forty photos of anything, lifebelts, windows and dogs came to 0.66 at most.
LEAST_SCORE = 0.7
#: Boxes that overlap more are of one face.
_ONE_FACE = 0.3
#: Sides of the picture are multiples of the coarsest stride.
_STEP = STRIDES[-1]


class FaceDetector:
    """Finds faces with YuNet, on the CPU: the same faces beside every engine."""

    def __init__(self, net: FaceNet | None = None) -> None:
        """Use a network, by default the trained one in the package."""
        self._net = load_face_net() if net is None else net

    @torch.inference_mode()
    def __call__(self, photo: Pixels) -> tuple[Face, ...]:
        """Return the faces on an upright H x W x 3 uint8 photo of any size, the surest first."""
        copy = _reduced(photo)
        image = to_tensor(copy)
        image = F.pad(image, (0, -image.shape[3] % _STEP, 0, -image.shape[2] % _STEP))
        scale = (photo.shape[1] / copy.shape[1], photo.shape[0] / copy.shape[0])
        found: list[Face] = []
        for level, stride in zip(self._net(image), STRIDES, strict=True):
            found += _faces(level, stride, scale)
        return without_repeats(found, most_overlap=_ONE_FACE)


def _reduced(photo: Pixels) -> Pixels:
    """Return a writable copy of a photo whose longer side has at most `SEARCHED_PX`."""
    # Of very large photos, four times as many pixels as needed are enough, and take less memory.
    thin = max(1, max(photo.shape[:2]) // (4 * SEARCHED_PX))
    factor = min(1.0, SEARCHED_PX / max(photo.shape[:2]))
    height, width = (max(1, round(side * factor)) for side in photo.shape[:2])
    image = Image.fromarray(np.ascontiguousarray(photo[::thin, ::thin]))
    return np.array(image.resize((width, height), Image.Resampling.BILINEAR))


def _faces(level: Level, stride: int, scale: tuple[float, float]) -> list[Face]:
    """Return the faces of a level in pixels of the photo, with repeats."""
    scores = (level.classes.sigmoid() * level.objects.sigmoid()).sqrt()[0, 0]  # H x W
    rows, columns = torch.nonzero(scores >= LEAST_SCORE, as_tuple=True)
    places = torch.stack([columns, rows], dim=1)  # N x 2, x and y
    unit = stride * torch.tensor(scale)
    boxes = _at(level.boxes, rows, columns)  # N x 4
    middles, sizes = (places + boxes[:, :2]) * unit, boxes[:, 2:].exp() * unit
    corners = torch.cat([middles - sizes / 2, middles + sizes / 2], dim=1)
    points = (places[:, None] + _at(level.points, rows, columns).view(-1, LANDMARKS, 2)) * unit
    return [
        Face(left=left, top=top, right=right, bottom=bottom, score=score, landmarks=tuple((x, y) for x, y in marks))
        for (left, top, right, bottom), score, marks in zip(
            corners.tolist(), scores[rows, columns].tolist(), points.tolist(), strict=True
        )
    ]


def _at(values: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the values of a 1 x C x H x W level at N positions, N x C."""
    return values[0, :, rows, columns].T
