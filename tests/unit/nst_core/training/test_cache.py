"""The cache of fetched files: limited, evicts the least recently used file, and never keeps a partial file."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nst_core.errors import BlobUnavailableError, ConfigError
from nst_core.training.cache import FileCache


class Fetcher:
    """Makes files of ten bytes, and records the requests."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def __call__(self, key: str) -> Callable[[], bytes]:
        def fetch() -> bytes:
            self.fetched.append(key)
            return key.encode().ljust(10)

        return fetch


def get(cache: FileCache, fetcher: Fetcher, *keys: str) -> None:
    for key in keys:
        assert cache.get(key, fetcher(key)) == key.encode().ljust(10)


def test_a_file_is_fetched_once(tmp_path: Path) -> None:
    cache, fetcher = FileCache(tmp_path / "cache", max_bytes=100), Fetcher()
    get(cache, fetcher, "s3://b/a.jpg", "s3://b/a.jpg", "s3://b/b.jpg", "s3://b/a.jpg")
    assert fetcher.fetched == ["s3://b/a.jpg", "s3://b/b.jpg"]


def test_the_least_recently_used_file_is_evicted(tmp_path: Path) -> None:
    cache, fetcher = FileCache(tmp_path, max_bytes=30), Fetcher()
    get(cache, fetcher, "a", "b", "c", "a", "d", "a", "c")
    assert fetcher.fetched == ["a", "b", "c", "d"]
    get(cache, fetcher, "b")  # the evicted one
    assert fetcher.fetched == ["a", "b", "c", "d", "b"]


def test_the_folder_never_has_more_than_its_limit(tmp_path: Path) -> None:
    cache, fetcher = FileCache(tmp_path, max_bytes=35), Fetcher()
    for number in range(20):
        get(cache, fetcher, str(number))
        assert cache.nbytes == sum(path.stat().st_size for path in tmp_path.iterdir()) <= 35


def test_another_process_continues_with_the_files_and_their_order(tmp_path: Path) -> None:
    first, fetcher = FileCache(tmp_path, max_bytes=30), Fetcher()
    get(first, fetcher, "a", "b", "c")
    for age, path in enumerate(sorted(tmp_path.iterdir(), key=lambda path: path.read_bytes(), reverse=True)):
        os.utime(path, ns=(10**18 - age, 10**18 - age))
    get(first, fetcher, "a")
    second = FileCache(tmp_path, max_bytes=20)  # a smaller one, too
    fetcher.fetched.clear()
    get(second, fetcher, "a", "c", "b")
    assert fetcher.fetched == ["b"]


def test_half_written_files_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / "abc.part").write_bytes(b"half")
    assert FileCache(tmp_path, max_bytes=30).nbytes == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_above_the_limit_is_returned_but_not_kept(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, max_bytes=30)
    cache.get("small", lambda: b"small")
    assert cache.get("large", lambda: bytes(31)) == bytes(31)
    assert cache.nbytes == 5


def test_an_error_in_fetching_is_raised_and_leaves_nothing(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, max_bytes=30)

    def fail() -> bytes:
        raise BlobUnavailableError("The storage did not answer.")

    with pytest.raises(BlobUnavailableError):
        cache.get("a", fail)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_cache_still_returns_files(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    cache, fetcher = FileCache(folder, max_bytes=30), Fetcher()
    folder.rmdir()
    get(cache, fetcher, "a", "a")
    assert fetcher.fetched == ["a", "a"]
    assert cache.nbytes == 0


def test_a_negative_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        FileCache(tmp_path, max_bytes=-1)
