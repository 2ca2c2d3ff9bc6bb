"""Large faces in strokes so fine that they stay faces, for what `tones` draws.

A painter takes a finer brush for a face. A network has one size of strokes, so it gets an enlarged copy of the face,
and what it makes of that is reduced again: a mouth has several strokes, where it was lost in one. Without it, a
protected face looks like a tinted photo in a painting. Small faces stay as the photo has them, since no stroke is fine
enough for them.

Never loads torch: it runs beside the network on other threads, and gives the same bytes on every processor.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from nst_core.faces.face import Face
from nst_core.faces.protection import alone, around
from nst_core.inference.blend import blend
from nst_core.inference.painting import Paint, in_strokes
from nst_core.inference.strokes import Stroke, StrokeSize, fine_stroke, painted_size
from nst_core.inference.stylizer import Pixels

#: How strongly large faces are painted, 0 to 1.
_STRENGTH = 0.8
#: Widths of a face in the copy of the photo that the network paints, in pixels: up to the first, nothing is painted,
#: and from the second on as strongly as above.
_WIDTHS = (80, 160)
#: A face is enlarged to this width, but not by more than the second number.
_WIDTH, _ENLARGED = 400, 2.0


def with_painted_faces(
    photo: Pixels,
    faces: Iterable[Face],
    stroke: Stroke | None,
    paint: Paint,
    *,
    strength: float = 1.0,
    preserve_color: bool = False,
    min_side_px: int = 1,
) -> Pixels:
    """Return an H x W x 3 photo with its large faces painted; the photo itself if it has none.

    `stroke` is that of the rest of the picture. The network is called once for each of these faces, and paints no side
    shorter than `min_side_px`. `strength` and `preserve_color` are those of `blend.blend`.
    """
    height, width = photo.shape[:2]
    size: StrokeSize | None = fine_stroke(height, width) if stroke == "varied" else stroke
    across = painted_size(height, width, size, min_side_px=min_side_px)[1] / width
    result = photo
    for face in faces:
        face_px = round(face.width) * across
        share = min(1.0, (face_px - _WIDTHS[0]) / (_WIDTHS[1] - _WIDTHS[0]))
        rows, columns = around(face, height=height, width=width)
        part = np.ascontiguousarray(photo[rows, columns])
        if share <= 0 or min(part.shape[:2]) < min_side_px:
            continue
        enlarged = min(_ENLARGED, max(1.0, _WIDTH / face_px))
        painted = in_strokes(part, 1 / (across * enlarged), paint, min_side_px=min_side_px)
        painted = blend(part, painted, strength=strength, preserve_color=preserve_color)
        there = replace(
            face,
            left=face.left - columns.start,
            right=face.right - columns.start,
            top=face.top - rows.start,
            bottom=face.bottom - rows.start,
        )
        weight = alone(there, height=part.shape[0], width=part.shape[1]) * np.float32(_STRENGTH * share)
        if result is photo:
            result = photo.copy()
        result[rows, columns] = blend(result[rows, columns], painted, weight=np.rint(weight).astype(np.uint8))
    return result
