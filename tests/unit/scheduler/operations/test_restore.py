"""Restoration of a home folder: complete, or not at all."""

import io
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.local.archive import FORMAT, ArchiveError, Head, Writer
from scheduler.local.home import Home
from scheduler.operations.restore import RestoreError, restore

RESTORES = """
import sys
from pathlib import Path
from scheduler.local.home import Home
from scheduler.operations.restore import restore
restore(sys.stdin.buffer, Home(Path(sys.argv[1])))
"""


def archive(*, schema: str = "0.1.0") -> bytes:
    """Return a backup with one large object."""
    target = io.BytesIO()
    head = Head(format=FORMAT, nst="9.9.9", schema=schema, created_at="2026-12-31T23:59:59Z", buckets=("nst",))
    files = {"nst.db": b"database", "api_key": b"key\n", "s3/nst/a.png": b"x" * (4 << 20)}
    with Writer(target, head, mtime=5) as writer:
        for name, data in files.items():
            writer.add(name, io.BytesIO(data), size=len(data), mtime=7)
        writer.finish()
    return target.getvalue()


@pytest.mark.parametrize("exists", [False, True], ids=["missing", "empty"])
def test_a_home_is_made_of_a_backup(tmp_path: Path, exists: bool) -> None:
    home = Home(tmp_path / "home")
    if exists:
        home.folder.mkdir()
    made = restore(io.BytesIO(archive()), home)
    assert (made.objects, made.head.nst) == (1, "9.9.9")
    assert home.database.read_bytes() == b"database"
    assert home.api_key() == "key"
    assert (home.s3 / "nst" / "a.png").stat().st_size == 4 << 20
    assert home.folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    with home.locked():
        pass


def test_a_folder_with_files_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "file").write_text("mine")
    with pytest.raises(RestoreError, match="is not empty"):
        restore(io.BytesIO(archive()), Home(tmp_path / "home"))
    assert (tmp_path / "home" / "file").read_text() == "mine"


def test_a_mount_point_is_refused() -> None:
    with pytest.raises(RestoreError, match=r"is not empty|is a mount point"):
        restore(io.BytesIO(archive()), Home(Path("/dev/shm")))


@pytest.mark.parametrize("length", [100, 3000, 1 << 20, (4 << 20) + 4000])
def test_a_damaged_backup_leaves_nothing(tmp_path: Path, length: int) -> None:
    with pytest.raises(ArchiveError):
        restore(io.BytesIO(archive()[:length]), Home(tmp_path / "home"))
    assert list(tmp_path.iterdir()) == []


def test_a_backup_of_a_newer_schema_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"made by nst 9\.9\.9, whose database has the version 7"):
        restore(io.BytesIO(archive(schema="7")), Home(tmp_path / "home"))
    assert list(tmp_path.iterdir()) == []


def test_a_killed_restore_leaves_no_home_and_the_next_one_succeeds(tmp_path: Path) -> None:
    home, data = Home(tmp_path / "home"), archive()
    beside = tmp_path / ".home.restoring"
    command = [sys.executable, "-c", RESTORES, str(home.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=Path(__file__).parents[4]) as process:
        assert process.stdin is not None
        process.stdin.write(data[: 3 << 20])
        process.stdin.flush()
        while not (beside / "s3" / "nst" / "a.png").exists():
            assert process.poll() is None
        with pytest.raises(RestoreError, match="Another process is restoring"):
            restore(io.BytesIO(data), home)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.stdin.close()
    assert not home.folder.exists()
    restore(io.BytesIO(data), home)
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
