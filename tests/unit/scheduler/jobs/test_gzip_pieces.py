"""Tests of scheduler.jobs.gzip_pieces."""

import gzip

import pytest

from nst_core.errors import BlobTooLargeError, ConfigError
from scheduler.jobs import gzip_pieces
from scheduler.jobs.gzip_pieces import is_gzip, skipped, unzipped

TEXT = b"".join(b"s3://nst/%d.jpg\n" % number for number in range(5_000))


@pytest.mark.parametrize("size", [1, 7, 4096, 10**6])
def test_what_is_compressed_is_read_in_pieces_of_any_size(size: int) -> None:
    data = gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])
    assert is_gzip(data[:4])
    assert not is_gzip(TEXT[:4])
    pieces = (data[at : at + size] for at in range(2, len(data), size))
    assert b"".join(unzipped(data[:2], pieces)) == TEXT


@pytest.mark.parametrize("count", [0, 1, 5, 6, 9])
def test_the_first_bytes_are_skipped(count: int) -> None:
    assert b"".join(skipped(iter([b"abc", b"def", b"ghi"]), count)) == b"abcdefghi"[count:]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(TEXT)[:-9], "breaks off"),
        (gzip.compress(TEXT)[:-8] + bytes(8), "damaged"),
        (gzip.compress(TEXT) + b"no gzip", "damaged"),
    ],
    ids=["end missing", "wrong checksum", "something behind it"],
)
def test_what_is_damaged_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        list(unzipped(data, iter([])))


def test_text_that_grows_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_pieces, "MAX_UNZIPPED_BYTES", 2**22)
    assert sum(map(len, unzipped(gzip.compress(bytes(2**22)), iter([])))) == 2**22
    with pytest.raises(BlobTooLargeError, match="compressed manifest"):
        list(unzipped(gzip.compress(bytes(2**22 + 1)), iter([])))


def test_a_file_that_is_long_without_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_pieces, "MAX_UNZIPPED_BYTES", 2**20)
    flags_and_name = bytes([8]) + bytes(6) + b"n" * 2**21 + b"\0"
    with pytest.raises(BlobTooLargeError, match="compressed manifest"):
        list(unzipped(b"\x1f\x8b\x08" + flags_and_name + gzip.compress(TEXT)[10:], iter([])))


def test_not_any_number_of_members_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gzip_pieces, "MAX_MEMBERS", 3)
    members = [gzip.compress(b"%d\n" % number) for number in range(3)]
    assert b"".join(unzipped(b"", iter(members))) == b"0\n1\n2\n"
    with pytest.raises(ConfigError, match="may have 3 gzip members"):
        list(unzipped(b"", iter([*members, gzip.compress(b"")])))
