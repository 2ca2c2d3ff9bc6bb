"""The benchmark of looks knows which photos have faces."""

import numpy as np
import pytest

from nst_core.faces.face import Face
from nst_core.looks.faces import CLEAR
from tests.benchmarks.looks import Photo

GREY = np.full((64, 64, 3), 128, np.uint8)


@pytest.mark.parametrize(("scores", "found"), [((), False), ((CLEAR - 0.01,), False), ((CLEAR - 0.01, CLEAR), True)])
def test_a_photo_has_faces_if_one_of_them_is_clear(scores: tuple[float, ...], found: bool) -> None:
    faces = tuple(Face(left=10, top=10, right=40, bottom=50, score=score) for score in scores)
    assert Photo(name="grey", full=GREY, pixels=GREY, features={}, faces=faces).has_faces is found
