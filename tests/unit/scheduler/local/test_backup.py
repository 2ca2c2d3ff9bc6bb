"""Backups of a home folder: complete, and of one moment."""

import io
import os
import shutil
import sqlite3
import time
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from nst_core import __version__
from scheduler.local.archive import Reader
from scheduler.local.backup import BackupError, HomeBackup, copy_database, link_tree
from scheduler.local.home import Home
from scheduler.store import schemas


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path) -> Home:
    """A home folder with a database and two objects, which its database names."""
    home = Home(tmp_path / "home")
    with home.locked():
        home.api_key()
        home.message_secret()
        home.database.write_bytes(sqlite_template.read_bytes())
        for key in ("a/1.jpg", "2.jpg"):
            put(home, key, b"photo " + key.encode())
        run(home, "CREATE TABLE named (key TEXT)", "INSERT INTO named VALUES ('a/1.jpg'), ('2.jpg')")
    return home


def put(home: Home, key: str, data: bytes) -> None:
    """Write an object as if that was a while ago."""
    path = home.s3 / "nst" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (1000, 1000))


def run(home: Home, *statements: str) -> None:
    """Change the database."""
    with closing(sqlite3.connect(home.database)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def restored(data: io.BytesIO, folder: Path) -> tuple[list[str], dict[str, bytes]]:
    """Extract a backup; return the objects that its database names, and those that it has."""
    data.seek(0)
    folder.mkdir()
    Reader(data).extract(folder)
    with closing(sqlite3.connect(folder / "nst.db")) as connection:
        named = [key for (key,) in connection.execute("SELECT key FROM named")]
    bucket = folder / "s3" / "nst"
    return named, {str(path.relative_to(bucket)): path.read_bytes() for path in bucket.rglob("*") if path.is_file()}


OBJECTS = {"a/1.jpg": b"photo a/1.jpg", "2.jpg": b"photo 2.jpg"}


@pytest.mark.parametrize("running", [False, True])
def test_a_backup_has_the_database_the_objects_and_the_keys(home: Home, tmp_path: Path, running: bool) -> None:
    target = io.BytesIO()
    with home.locked() if running else nullcontext():
        made = HomeBackup(home).write(target)
    assert made.objects == 2
    assert restored(target, tmp_path / "new") == (["a/1.jpg", "2.jpg"], OBJECTS)
    for name in ("api_key", "message_secret"):
        assert (tmp_path / "new" / name).read_bytes() == (home.folder / name).read_bytes()
    target.seek(0)
    head = Reader(target).head
    assert (head.nst, head.schema, head.buckets) == (__version__, schemas.none().newest, ("nst",))
    assert not (home.folder / "backup").exists()


def test_what_is_changed_and_deleted_after_the_moment_is_in_the_backup(home: Home, tmp_path: Path) -> None:
    def delete_everything() -> float:
        # The clock is asked when the database has been copied and nothing has been written to the archive.
        if (home.s3 / "nst" / "2.jpg").exists():
            run(home, "DELETE FROM named", "INSERT INTO named VALUES ('3.jpg')")
            for key in OBJECTS:
                (home.s3 / "nst" / key).unlink()
            put(home, "3.jpg", b"new")
        return time.time()

    target = io.BytesIO()
    with home.locked():
        HomeBackup(home, clock=delete_everything).write(target)
    assert restored(target, tmp_path / "new") == (["a/1.jpg", "2.jpg"], OBJECTS)


def test_nothing_is_written_while_the_objects_are_linked(home: Home, tmp_path: Path) -> None:
    seen: list[str] = []

    def before() -> None:
        run(home, "INSERT INTO named VALUES ('before')")

    def moment() -> None:
        with closing(sqlite3.connect(home.database, timeout=0)) as other:
            seen.extend(key for (key,) in other.execute("SELECT key FROM named"))
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("INSERT INTO named VALUES ('meanwhile')")

    copy_database(home.database, tmp_path / "copy.db", steps=(before, moment))
    with closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        assert [key for (key,) in copy.execute("SELECT key FROM named")] == seen
    assert seen[-1] == "before"
    run(home, "INSERT INTO named VALUES ('after')")


def test_the_second_links_are_those_of_what_is_there_then(tmp_path: Path) -> None:
    source, target = tmp_path / "s3", tmp_path / "links"
    (source / "nst" / "folder").mkdir(parents=True)
    (source / "nst" / "old").mkdir()
    (source / "nst" / "old" / "deleted").write_text("deleted")
    for name in ("kept", "deleted", "replaced"):
        (source / "nst" / name).write_text(name)
    link_tree(source, target)
    (source / "nst" / "deleted").unlink()
    shutil.rmtree(source / "nst" / "old")
    (source / "nst" / "other").write_text("the new one")
    (source / "nst" / "other").replace(source / "nst" / "replaced")
    (source / "nst" / "folder" / "new").write_text("new")
    (source / "nst" / "link").symlink_to("/etc/passwd")
    link_tree(source, target)
    found = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*") if path.is_file()}
    assert found == {
        "nst/kept": "kept",
        "nst/replaced": "the new one",
        "nst/folder/new": "new",
    }


@pytest.mark.parametrize("running", [False, True])
def test_links_and_incomplete_files_are_no_objects(home: Home, tmp_path: Path, running: bool) -> None:
    (home.s3 / "nst" / "link.jpg").symlink_to("2.jpg")
    (home.s3 / "linked").symlink_to(tmp_path)
    put(home, ".rclone_temp_put_d9ea476c-bb0f-417d-8fa4-52e58ba7dc74", b"half of")
    target = io.BytesIO()
    with home.locked() if running else nullcontext():
        HomeBackup(home).write(target)
    assert restored(target, tmp_path / "new")[1] == OBJECTS


def test_an_object_that_is_being_written_is_waited_for(home: Home, tmp_path: Path) -> None:
    path = home.s3 / "nst" / "2.jpg"
    path.write_bytes(b"half of")
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        put(home, "2.jpg", OBJECTS["2.jpg"])

    target = io.BytesIO()
    HomeBackup(home, sleep=sleep).write(target)
    assert len(waits) == 1
    assert restored(target, tmp_path / "new")[1] == OBJECTS


def test_a_large_object_that_changes_while_it_is_read_ends_the_backup(home: Home) -> None:
    put(home, "2.jpg", b"x" * (20 << 20))

    class Target(io.BytesIO):
        def write(self, data: object) -> int:
            (home.s3 / "nst" / "2.jpg").write_bytes(b"other")
            return 0

    with pytest.raises(BackupError, match="was changed while it was read"):
        HomeBackup(home).write(Target())
    assert not (home.folder / "backup").exists()


def test_a_folder_without_nst_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="is not a home folder of nst"):
        HomeBackup(Home(tmp_path)).write(io.BytesIO())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "message"), [(b"", "database is empty"), (b"not a database" * 100, "cannot be copied: file is not a da")]
)
def test_a_database_that_is_none_is_refused(home: Home, data: bytes, message: str) -> None:
    home.database.write_bytes(data)
    with pytest.raises(BackupError, match=message):
        HomeBackup(home).write(io.BytesIO())


def test_two_backups_at_once_are_refused_and_leftovers_are_deleted(home: Home) -> None:
    (home.folder / "backup" / "s3").mkdir(parents=True)

    def second() -> float:
        with pytest.raises(BackupError, match="Another backup"):
            HomeBackup(home).write(io.BytesIO())
        return time.time()

    HomeBackup(home, clock=second).write(io.BytesIO())
    assert not (home.folder / "backup").exists()


def test_without_hard_links_a_running_home_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with home.locked(), pytest.raises(BackupError, match=r"cannot be linked .*: stop nst up\."):
        HomeBackup(home).write(io.BytesIO())
    assert HomeBackup(home).write(io.BytesIO()).objects == 2, "a home that nobody uses needs none"
