"""Tests of nst_core.inference.likeness."""

import numpy as np

from nst_core.inference.likeness import psnr_db


def test_psnr() -> None:
    black, white = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 255, np.uint8)
    assert psnr_db(black, black) == float("inf")
    assert psnr_db(black, white) == 0
