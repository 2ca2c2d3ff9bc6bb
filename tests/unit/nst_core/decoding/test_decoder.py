"""Decoding in child processes: pictures and errors are the same, and a bad file affects only itself."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from PIL import Image

from nst_core import images
from nst_core.decoding import child as child_module
from nst_core.decoding.child import _CODE
from nst_core.decoding.decoder import DecoderPool, NoRoomError
from nst_core.errors import EngineError, ImageDecodeError, ImageError, ImageTooLargeError
from nst_core.images.picture import Limits
from nst_core.settings import DecoderSettings
from tests.unit.nst_core.images.picture_files import WRITERS, claiming, noise, saved, slow_jpeg, smooth
from tests.unit.worker.kit import wait_until

WAIT_S = 60


@pytest.fixture
def pool() -> Iterator[DecoderPool]:
    pool = DecoderPool(DecoderSettings(processes=2))
    yield pool
    pool.close()


def children() -> list[int]:
    """Return the running processes that a test started, without those of the shared pool."""
    found: list[int] = []
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found += map(int, (task / "children").read_text().split())
    return [pid for pid in found if pid not in _earlier]


_earlier: set[int] = set()


@pytest.fixture(autouse=True)
def _remember_earlier_children() -> None:
    _earlier.clear()
    _earlier.update(children())


@pytest.mark.parametrize("kind", WRITERS)
def test_a_picture_equals_that_of_the_decoder_in_this_process(pool: DecoderPool, kind: str) -> None:
    image = Image.fromarray(smooth())
    if kind in ("png", "webp", "tiff"):
        image.putalpha(Image.linear_gradient("L").resize((48, 32)))
    data = WRITERS[kind](image)
    picture, expected = pool.decode(data, Limits(max_px=40)), images.decode(data, Limits(max_px=40))
    np.testing.assert_array_equal(picture.rgb, expected.rgb)
    assert picture.rgb.flags.writeable
    if expected.alpha is None:
        assert picture.alpha is None
    else:
        assert picture.alpha is not None
        np.testing.assert_array_equal(picture.alpha, expected.alpha)


@pytest.mark.parametrize("data", [b"", b"no image", b"%PDF", claiming("png", 40_000, 40_000), claiming("jpeg", 4, 4)])
def test_an_error_equals_that_of_the_decoder_in_this_process(pool: DecoderPool, data: bytes) -> None:
    with pytest.raises(ImageError) as expected:
        images.decode(data)
    with pytest.raises(type(expected.value)) as raised:
        pool.decode(data)
    assert raised.value.message == expected.value.message
    assert len(children()) == 1  # the child answered, and is alive


def test_a_check_loads_no_pixels_into_this_process(pool: DecoderPool) -> None:
    data = saved(Image.new("RGB", (7_000, 7_000)), "PNG")
    before = _resident_bytes()
    assert pool.check(data) == (7_000, 7_000)
    assert _resident_bytes() - before < 50 << 20  # its pixels are 147 MB
    with pytest.raises(ImageDecodeError):
        pool.check(data[:-2000])
    assert pool.decode(WRITERS["png"](Image.fromarray(smooth()))).rgb.shape == (32, 48, 3)


def _resident_bytes() -> int:
    """Return the peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_file_that_takes_too_long_fails_alone() -> None:
    pool = DecoderPool(DecoderSettings(processes=2, seconds=1))
    good = WRITERS["png"](Image.fromarray(smooth()))
    with ThreadPoolExecutor(4) as threads:
        slow = threads.submit(pool.decode, slow_jpeg())
        beside = [threads.submit(pool.decode, good) for _ in range(20)]
        with pytest.raises(ImageDecodeError, match="more than 1 seconds"):
            slow.result(WAIT_S)
        for each in beside:
            np.testing.assert_array_equal(each.result(WAIT_S).rgb, smooth())
    np.testing.assert_array_equal(pool.decode(good).rgb, smooth())
    pool.close()


def test_a_file_that_takes_too_much_memory_fails_alone() -> None:
    pool = DecoderPool(DecoderSettings(processes=1, memory_bytes=64 << 20))
    large = saved(Image.new("RGB", (7_000, 7_000)), "PNG")
    with pytest.raises(ImageTooLargeError, match="memory"):
        pool.decode(large)
    np.testing.assert_array_equal(pool.decode(WRITERS["png"](Image.fromarray(smooth()))).rgb, smooth())
    pool.close()


def test_a_child_that_was_killed_while_idle_costs_no_image(pool: DecoderPool) -> None:
    good = WRITERS["png"](Image.fromarray(smooth()))
    pool.decode(good)
    (child,) = children()
    os.kill(child, signal.SIGKILL)
    np.testing.assert_array_equal(pool.decode(good).rgb, smooth())
    assert child not in children()


def test_an_image_whose_reader_dies_twice_fails_alone() -> None:
    pool, stop = DecoderPool(DecoderSettings(processes=1)), Event()

    def kill_all() -> None:
        while not stop.wait(0.01):
            for child in children():
                # Only one that has silenced itself, as the last step of its start, which is not the image's.
                with suppress(OSError):
                    if os.readlink(f"/proc/{child}/fd/2") == os.devnull:
                        os.kill(child, signal.SIGSEGV)

    killer = Thread(target=kill_all)
    killer.start()
    try:
        with pytest.raises(ImageDecodeError, match="crash"):
            pool.decode(slow_jpeg())
    finally:
        stop.set()
        killer.join()
    assert pool.decode(WRITERS["png"](Image.fromarray(smooth()))).rgb.shape == (32, 48, 3)
    pool.close()


@contextmanager
def stopping(pool: DecoderPool, *, times: int) -> Iterator[list[int]]:
    """Stop the children that serve a pool, each once, as a frozen machine does; yield those that were stopped."""
    stopped, end = list[int](), Event()

    def stop_each() -> None:
        while len(stopped) < times and not end.wait(0.005):
            for child in children():
                with suppress(OSError):
                    if child not in stopped and os.readlink(f"/proc/{child}/fd/2") == os.devnull:
                        os.kill(child, signal.SIGSTOP)
                        stopped.append(child)

    pool.start()
    stopper = Thread(target=stop_each)
    stopper.start()
    try:
        yield stopped
    finally:
        end.set()
        stopper.join()


def test_an_image_whose_reader_was_frozen_is_read_by_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "_PATIENCE", 1)
    pool = DecoderPool(DecoderSettings(processes=1, seconds=1))
    with stopping(pool, times=1) as stopped:
        wait_until(lambda: len(stopped) == 1)
        np.testing.assert_array_equal(pool.decode(WRITERS["png"](Image.fromarray(smooth()))).rgb, smooth())
    assert stopped[0] not in children()
    pool.close()


def test_an_image_is_not_to_blame_if_no_reader_gets_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "_PATIENCE", 1)
    pool = DecoderPool(DecoderSettings(processes=1, seconds=1))
    with stopping(pool, times=2) as stopped:
        wait_until(lambda: len(stopped) == 1)
        with pytest.raises(EngineError, match="no processor time") as raised:
            pool.decode(slow_jpeg())
    assert raised.value.retryable
    assert len(stopped) == 2
    np.testing.assert_array_equal(pool.decode(WRITERS["png"](Image.fromarray(smooth()))).rgb, smooth())
    pool.close()


def test_children_end_with_a_parent_that_is_killed() -> None:
    code = (
        "import os, signal\n"
        "from nst_core.decoding.decoder import decode\n"
        "try: decode(b'')\n"
        "except Exception: pass\n"
        "print(*[open(f'/proc/self/task/{t}/children').read() for t in os.listdir('/proc/self/task')], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WAIT_S)
    (child,) = map(int, done.stdout.split())
    deadline = time.monotonic() + WAIT_S
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_children_see_no_credentials_and_no_signals_of_the_terminal(
    pool: DecoderPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NST_S3_SECRET_KEY", "hush")
    pool.decode(WRITERS["png"](Image.fromarray(smooth())))
    (child,) = children()
    assert b"hush" not in Path(f"/proc/{child}/environ").read_bytes()
    assert os.getpgid(child) != os.getpgid(0)


def test_a_closed_pool_leaves_no_children(pool: DecoderPool) -> None:
    pool.decode(WRITERS["png"](Image.fromarray(smooth())))
    pool.close()
    assert children() == []


def test_many_threads_share_few_children(pool: DecoderPool) -> None:
    pictures = [noise(60 + number, 40) for number in range(24)]
    with ThreadPoolExecutor(12) as threads:
        decoded = list(threads.map(pool.decode, [saved(Image.fromarray(each), "PNG") for each in pictures]))
    for picture, expected in zip(decoded, pictures, strict=True):
        np.testing.assert_array_equal(picture.rgb, expected)
    assert len(children()) <= 2


def test_a_child_that_was_started_before_serves_the_first_image(pool: DecoderPool) -> None:
    pool.start()
    pool.start()
    (child,) = children()
    pool.decode(saved(Image.fromarray(smooth()), "PNG"))
    assert children() == [child]


def test_an_image_without_room_is_not_decoded_and_its_child_serves_the_next_one(pool: DecoderPool) -> None:
    asked: list[int] = []

    def has_room(pixels: int) -> bool:
        asked.append(pixels)
        return len(asked) > 1

    # The file does not even contain the pixels.
    with pytest.raises(NoRoomError) as raised:
        pool.decode(claiming("png", 5_000, 4_000), Limits(max_px=50), has_room=has_room)
    (child,) = children()
    good = saved(Image.fromarray(smooth()), "PNG")
    np.testing.assert_array_equal(pool.decode(good, has_room=has_room).rgb, smooth())
    assert children() == [child]
    assert raised.value.pixels == 50 * 40
    assert asked == [50 * 40, 48 * 32]


def test_the_network_limit_is_checked_before_a_pixel_is_decoded() -> None:
    asked: list[tuple[int, int]] = []

    def ask(nbytes: int, pixels: int) -> None:
        asked.append((nbytes, pixels))

    # The file does not even contain the pixels.
    data = claiming("png", 5_000, 5_000)
    with pytest.raises(ImageTooLargeError, match="5,000 x 5,000"):
        images.decode(data, Limits(max_result_pixels=12_000_000), on_size=ask)
    assert asked == []
    with pytest.raises(ImageDecodeError, match="truncated"):
        images.decode(data, Limits(max_result_pixels=12_000_000, max_px=3_000), on_size=ask)
    ((nbytes, pixels),) = asked
    assert nbytes >= 5_000 * 5_000
    assert pixels == 3_000 * 3_000


def test_a_result_may_have_as_many_pixels_as_the_limit() -> None:
    out = BytesIO()
    Image.fromarray(smooth(48, 32)).save(out, "PNG")
    assert images.decode(out.getvalue(), Limits(max_result_pixels=48 * 32)).rgb.shape == (32, 48, 3)
    with pytest.raises(ImageTooLargeError):
        images.decode(out.getvalue(), Limits(max_result_pixels=48 * 32 - 1))


def test_a_child_whose_parent_is_gone_before_it_is_ready_ends_without_a_word() -> None:
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", _CODE, str(2**30), "10"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdout.close()
    child.stdin.close()
    assert child.stderr is not None
    assert child.stderr.read() == b""
    assert child.wait(60) == 0
    child.stderr.close()
