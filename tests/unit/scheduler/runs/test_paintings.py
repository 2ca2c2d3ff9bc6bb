"""Paintings are read in other processes, and a few at the same time."""

import time
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from PIL import Image

from nst_core.decoding.decoder import DecoderPool
from nst_core.settings import DecoderSettings
from scheduler.domain.errors import RateLimitedError, RequestInvalidError
from scheduler.runs import paintings
from scheduler.runs.paintings import Painting
from tests.unit.nst_core.images.picture_files import claiming, noise, saved, slow_jpeg


def painting(data: bytes) -> Painting:
    return Painting(name="painting", data=data)


GOOD = painting(saved(Image.fromarray(noise(80, 70)), "PNG"))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"<!---->" * 50 + b"x", "image_undecodable"),
        (claiming("png", 40_000, 40_000), "image_too_large"),
        (saved(Image.new("RGB", (63, 100)), "PNG"), "image_too_small"),
    ],
)
def test_what_is_no_painting_is_refused_with_its_reason(data: bytes, code: str) -> None:
    with pytest.raises(RequestInvalidError, match=code):
        paintings.check(painting(data))
    paintings.check(GOOD)


def test_more_paintings_than_are_read_at_the_same_time_are_to_be_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = DecoderPool(DecoderSettings(processes=1, seconds=1))
    monkeypatch.setattr("nst_core.decoding.decoder.shared_pool", lambda: pool)
    slow = painting(slow_jpeg(3_000))
    with ThreadPoolExecutor(8) as threads:
        reading = [threads.submit(paintings.check, slow) for _ in range(8)]
        with pytest.raises(RateLimitedError, match="try again"):
            _check_until_refused()
        wait(reading)
    assert {type(each.exception()) for each in reading} == {RequestInvalidError}
    paintings.check(GOOD)
    pool.close()


def _check_until_refused() -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        paintings.check(GOOD)
