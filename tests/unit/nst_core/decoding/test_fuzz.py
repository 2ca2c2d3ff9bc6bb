"""Damaged files of all formats give a picture or an ImageError in the decoder process, and never a crash."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nst_core.decoding.decoder import DecoderPool
from nst_core.errors import ImageError
from nst_core.images.picture import Limits
from nst_core.settings import DecoderSettings
from tests.unit.nst_core.images.picture_files import WRITERS, noise, png_chunk, saved, smooth, srgb_profile, tiff

#: The number of damaged copies of each file.
COPIES = 25
SMALL = Image.fromarray(smooth(24, 20))
CMYKA: Any = np.dstack([noise(24, 20), noise(24, 20)[..., :2]]).astype(np.uint16) * 257
FILES = {
    **{kind: writer(SMALL) for kind, writer in WRITERS.items()},
    "avif": saved(SMALL, "AVIF"),
    "gif-animated": saved(SMALL, "GIF", save_all=True, append_images=[Image.fromarray(noise(24, 20))]),
    "jpeg-restarts": saved(SMALL, "JPEG", restart_marker_rows=1, icc_profile=srgb_profile()),
    "png-palette": saved(SMALL.quantize(8), "PNG", transparency=1, icc_profile=srgb_profile()),
    "tiff-cmyka": tiff(CMYKA, photometric=5, order=">", planar=True, tile=16, more={338: (2,)}),
    "tiff-deflate": tiff(noise(24, 20), compression=8, predictor=True),
    "tiff-pages": saved(SMALL, "TIFF", compression="tiff_lzw", save_all=True, append_images=[SMALL, SMALL]),
    "webp-alpha": saved(SMALL.convert("LA").convert("RGBA"), "WEBP", exif=b"Exif\0\0II*\0"),
}
FILES["png-gamma"] = FILES["png"][:33] + png_chunk(b"gAMA", (70_000).to_bytes(4)) + FILES["png"][33:]


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(DecoderSettings(processes=1, seconds=10))
    yield pool
    pool.close()


@pytest.mark.parametrize("kind", FILES)
def test_damage_gives_a_picture_or_an_image_error(
    pool: DecoderPool, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(len(kind))
    for _ in range(COPIES):
        data = bytearray(FILES[kind])
        for _ in range(rng.integers(1, 8)):
            # Half of the damage is in the first bytes, where structure is.
            end = len(data) if rng.random() < 0.5 else min(100, len(data))
            data[rng.integers(0, end)] = rng.integers(0, 256)
        if rng.random() < 0.3:
            del data[rng.integers(0, len(data)) :]
        with suppress(ImageError):
            picture = pool.decode(bytes(data), Limits(max_pixels=1_000_000))
            assert picture.rgb.shape[0] * picture.rgb.shape[1] <= 1_000_000
    # Unexpected errors of a reader are logged, and so is its death.
    assert caplog.messages == []
