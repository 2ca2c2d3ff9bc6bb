"""Paintings are read in other processes, and a few at the same time."""

import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack

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
def test_a_file_that_cannot_be_a_painting_is_refused_with_its_reason(data: bytes, code: str) -> None:
    with pytest.raises(RequestInvalidError, match=code):
        paintings.check(painting(data), tenant="anna")
    paintings.check(GOOD, tenant="anna")


def test_a_tenant_with_slow_paintings_is_told_to_wait_and_holds_nobody_else_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = DecoderPool(DecoderSettings(processes=2, seconds=1))
    monkeypatch.setattr("nst_core.decoding.decoder.shared_pool", lambda: pool)
    slow = painting(slow_jpeg())
    with ThreadPoolExecutor(3) as threads:
        reading = [threads.submit(paintings.check, slow, tenant="slow") for _ in range(3)]
        with pytest.raises(RateLimitedError, match="try again"):
            _check_until_refused("slow")
        # One decoder is always free for others: a tenant's paintings are decoded one after the other.
        paintings.check(GOOD, tenant="anna")
        assert not all(each.done() for each in reading)
        wait(reading)
    assert {type(each.exception()) for each in reading} == {RequestInvalidError}
    paintings.check(GOOD, tenant="slow")
    pool.close()


def test_all_tenants_together_have_a_limit() -> None:
    turns = paintings._Turns()
    with ExitStack() as held:
        for number in range(12):
            held.enter_context(turns.take(f"tenant {number}"))
        with pytest.raises(RateLimitedError), turns.take("another"):
            pass
    with turns.take("another"):
        pass


def _check_until_refused(tenant: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        paintings.check(GOOD, tenant=tenant)
