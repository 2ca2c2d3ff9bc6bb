"""The archive of a backup, and what is refused as one."""

import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.local.archive import FORMAT, HEAD, SUMS, ArchiveError, Head, Reader, Writer

HEAD_OF_TEST = Head(format=FORMAT, nst="0.1.0", schema="0.1.0", created_at="2026-12-31T23:59:59Z", buckets=("nst", "b"))
FILES = {
    "nst.db": b"database" * 1000,
    "api_key": b"nst_key\n",
    "s3/nst/a.jpg": b"photo" * 500,
    "s3/nst/folder/" + "long" * 40 + "/ü\n\\.png": b"",
}
Change = Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]


def archive(files: dict[str, bytes] = FILES) -> bytes:
    """Return an archive."""
    target = io.BytesIO()
    with Writer(target, HEAD_OF_TEST, mtime=5) as writer:
        for name, data in files.items():
            writer.add(name, io.BytesIO(data), size=len(data), mtime=7)
        writer.finish()
    return target.getvalue()


def changed(change: Change) -> bytes:
    """Return an archive whose files and headers were changed."""
    with tarfile.open(fileobj=io.BytesIO(archive())) as tar:
        members = [(member, (tar.extractfile(member) or io.BytesIO()).read()) for member in tar]
    change(members)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return target.getvalue()


def extract(data: bytes, folder: Path) -> int:
    """Extract an archive that arrives in small pieces, as through a pipe."""
    folder.mkdir()
    return Reader(io.BufferedReader(io.BytesIO(data), 100)).extract(folder)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    data, folder = archive(), tmp_path / "home"
    assert Reader(io.BytesIO(data)).head == HEAD_OF_TEST
    assert extract(data, folder) == 2
    for name, content in FILES.items():
        assert (folder / name).read_bytes() == content
        assert (folder / name).stat().st_mode & 0o777 == 0o600
        assert (folder / name).stat().st_mtime == 7
    assert (folder / "s3" / "b").is_dir(), "an empty bucket is kept"


def test_tar_and_sha256sum_can_read_it_too(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(archive())
    subprocess.run(["tar", "xf", "x.tar"], cwd=tmp_path, check=True)
    subprocess.run(["sha256sum", "--quiet", "--check", SUMS], cwd=tmp_path, check=True)


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    data = archive()
    end = data.index(SUMS.encode())
    for number, length in enumerate([0, 1, 511, 512, *range(1000, end, 1537), end, end + 300, end + 600]):
        with pytest.raises(ArchiveError):
            extract(data[:length], tmp_path / str(number))


def test_every_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    data = archive()
    unnoticed = 0
    for number, place in enumerate(range(0, len(data) - tarfile.RECORDSIZE, 97)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << number % 8
        folder = tmp_path / str(number)
        try:
            extract(bytes(flipped), folder)
        except ArchiveError:
            continue
        unnoticed += 1  # a bit of the padding
        assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert unnoticed < number / 3


def rename(old: str, new: str) -> Change:
    """Return a change that gives a file another name."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        next(member for member, _ in members if member.name == old).name = new

    return change


def replace(kind: bytes) -> Change:
    """Return a change that makes something else of a file, such as a link."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        place = next(i for i, (member, _) in enumerate(members) if member.name == "api_key")
        member = members[place][0]
        member.type, member.linkname = kind, "/etc/passwd"
        members[place] = (member, b"")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename("api_key", "../api_key"), r"does not belong there: '\.\./api_key'"),
        (rename("api_key", "/etc/passwd"), "does not belong there: '/etc/passwd'"),
        (rename("api_key", "s3/nst/../../x"), "does not belong there"),
        (rename("api_key", "s3/x"), "does not belong there"),
        (rename("api_key", "lock"), "does not belong there: 'lock'"),
        (rename("api_key", "s3/nst/a.jpg"), "two files of the name"),
        (rename("api_key", "s3/nst/a.jpg/b"), "is damaged|two files of the name"),
        (rename("nst.db", "client.json"), "is damaged: 'nst.db'"),
        (replace(tarfile.SYMTYPE), "'api_key' is not a regular file"),
        (replace(tarfile.LNKTYPE), "'api_key' is not a regular file"),
        (replace(tarfile.DIRTYPE), "'api_key' is not a regular file"),
        (replace(tarfile.FIFOTYPE), "'api_key' is not a regular file"),
        (lambda members: members.pop(0), "not a backup of nst"),
        (lambda members: members.pop(2), "is damaged: 'api_key'"),
        (lambda members: members.append(members[2]), "files after its checksums"),
        (lambda members: members.clear(), "not a backup of nst"),
    ],
)
def test_strange_archives_are_refused(change: Change, message: str, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=message):
        extract(changed(change), tmp_path / "home")
    assert {path.name for path in tmp_path.iterdir()} <= {"home"}, "nothing is written elsewhere"


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"{", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"{}", "cannot be read"),
        (json.dumps({"format": FORMAT + 1}).encode(), "format 2, of a newer nst"),
        (json.dumps(HEAD_OF_TEST.__dict__ | {"buckets": ["../x"]}).encode(), "A bucket has the name"),
        (json.dumps(HEAD_OF_TEST.__dict__ | {"buckets": [""]}).encode(), "A bucket has the name"),
    ],
)
def test_strange_heads_are_refused(head: bytes, message: str, tmp_path: Path) -> None:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[0] = (members[0][0], head)

    with pytest.raises(ArchiveError, match=message):
        extract(changed(change), tmp_path / "home")


def test_an_archive_needs_a_database(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="no database"):
        extract(archive({"api_key": b"x"}), tmp_path / "home")


@pytest.mark.parametrize("data", [b"", b"text", b"\0" * 10240, b"\x1f\x8b" + b"x" * 2000], ids=len)
def test_other_files_are_no_backups(data: bytes) -> None:
    with pytest.raises(ArchiveError, match="not a backup of nst"):
        Reader(io.BytesIO(data))


def test_the_head_comes_first_and_the_checksums_last() -> None:
    with tarfile.open(fileobj=io.BytesIO(archive())) as tar:
        names = tar.getnames()
    assert names == [HEAD, *FILES, SUMS]
