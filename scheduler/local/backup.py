"""Backup of a home folder, also while `nst up` runs with it.

The copy of the database and the objects must be of one moment. An object is written before the rows that name it, and
deleted after the rows are changed. So, while the database takes no writes, each object that it names exists. In that
moment all objects get a second name, a hard link, which takes no time and keeps their bytes whatever is deleted later.
"""

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO

from nst_core import __version__
from nst_core.clock import Clock
from scheduler.local.archive import DATABASE, FILES, FORMAT, OBJECTS, Head, Writer
from scheduler.local.home import Home, HomeError, HomeLockedError

#: How long a writer of the database is waited for.
_WAIT_S = 30.0
#: A file that was not changed for so long is complete.
_SETTLED_S = 2.0
_TRIES = 10
#: What rclone calls an object before it is complete.
_INCOMPLETE = ".rclone_temp_put_"
#: Smaller objects are read at once.
_SMALL_BYTES = 8 * 2**20


class BackupError(HomeError):
    """A backup could not be made."""

    code = "backup_failed"


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What was backed up."""

    objects: int
    #: Of all files.
    nbytes: int


class HomeBackup:
    """Writes backups of a home folder."""

    def __init__(self, home: Home, *, clock: Clock = time.time, sleep: Callable[[float], None] = time.sleep) -> None:
        """Nothing is read yet."""
        self._home = home
        self._clock = clock
        self._sleep = sleep

    def write(self, target: IO[bytes]) -> Backup:
        """Write the archive; raise BackupError if there is no home, or if another backup of it is being made."""
        home = self._home
        if not home.database.is_file():
            raise BackupError(f"{home.folder} is not a home folder of nst: it has no {DATABASE}.")
        with ExitStack() as stack:
            scratch = stack.enter_context(_scratch(home))
            try:
                stack.enter_context(home.locked())
            except HomeLockedError:
                objects = scratch / OBJECTS
                copy_database(home.database, scratch / DATABASE, steps=(lambda: link_tree(home.s3, objects),) * 2)
            else:
                objects = home.s3
                copy_database(home.database, scratch / DATABASE)
            return self._archive(target, scratch / DATABASE, objects)

    def _archive(self, target: IO[bytes], database: Path, objects: Path) -> Backup:
        now = self._clock()
        head = Head(
            format=FORMAT,
            nst=__version__,
            schema=_schema_of(database),
            created_at=datetime.fromtimestamp(int(now), UTC).isoformat().replace("+00:00", "Z"),
            buckets=tuple(sorted(entry.name for entry in os.scandir(objects) if entry.is_dir(follow_symlinks=False))),
        )
        count = nbytes = 0
        with Writer(target, head, mtime=int(now)) as writer:
            nbytes += self._add(writer, DATABASE, database)
            for name in FILES:
                if (self._home.folder / name).exists():
                    nbytes += self._add(writer, name, self._home.folder / name)
            for path in _files(objects):
                self._settle(path)
                nbytes += self._add(writer, f"{OBJECTS}/{path.relative_to(objects)}", path)
                count += 1
            writer.finish()
        return Backup(objects=count, nbytes=nbytes)

    def _add(self, writer: Writer, name: str, path: Path) -> int:
        """Add a file, and return its size."""
        with open(path, "rb") as file:
            before = os.fstat(file.fileno())
            size = before.st_size
            source = BytesIO(file.read()) if size <= _SMALL_BYTES else file
            try:
                writer.add(name, source, size=size, mtime=int(before.st_mtime))
            except OSError as error:
                if error.errno is not None:
                    raise
                raise BackupError(f"{name} was changed while it was read. Make the backup again.") from error
            after = os.fstat(file.fileno())
        if (after.st_size, after.st_mtime_ns) != (size, before.st_mtime_ns):
            raise BackupError(f"{name} was changed while it was read. Make the backup again.")
        return size

    def _settle(self, path: Path) -> None:
        """Wait while an object is being written.

        Older versions of rclone write in place, and an image is made once more, to the same bytes, after its worker was
        lost.
        """
        for _ in range(_TRIES):
            if self._clock() - path.stat().st_mtime >= _SETTLED_S:
                break
            self._sleep(_SETTLED_S)


def copy_database(source: Path, target: Path, *, steps: tuple[Callable[[], None], ...] = ()) -> None:
    """Copy a database of SQLite as it is at one moment.

    In that moment, while nothing can be written, the last one of `steps` is taken. The others are taken before.
    """
    for step in steps[:-1]:
        step()
    with ExitStack() as stack:
        writer, reader, copy = (
            stack.enter_context(closing(sqlite3.connect(path, timeout=_WAIT_S, isolation_level=None)))
            for path in (source, source, target)
        )
        try:
            writer.execute("BEGIN IMMEDIATE")
            for step in steps[-1:]:
                step()
            # From now on the reader sees this moment, whatever is written later.
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            writer.execute("ROLLBACK")
            reader.backup(copy)
        except sqlite3.Error as error:
            raise BackupError(f"The database {source} cannot be copied: {error}.") from error


def link_tree(source: Path, target: Path) -> None:
    """Give each object below `source` a hard link in `target`, and remove the links of what is not there any more.

    Raises BackupError if the file system has no hard links, or if a folder is on another one.
    """
    waiting = [(source, target)]
    while waiting:
        folder, mirror = waiting.pop()
        mirror.mkdir(mode=0o700, exist_ok=True)
        linked = {entry.name: entry.inode() for entry in os.scandir(mirror)}
        with suppress(FileNotFoundError), os.scandir(folder) as entries:  # deleted meanwhile
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((folder / entry.name, mirror / entry.name))
                elif not _is_object(entry):
                    continue
                elif linked.get(entry.name) != entry.inode():
                    _link(Path(entry.path), mirror / entry.name)
                linked.pop(entry.name, None)
        for name in linked:
            gone = mirror / name
            shutil.rmtree(gone) if gone.is_dir() else gone.unlink()


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        return  # deleted meanwhile
    except OSError as error:
        raise BackupError(
            f"{source} cannot be linked ({error.strerror}), so a backup needs a home that nobody uses: stop nst up."
        ) from error


@contextmanager
def _scratch(home: Home) -> Iterator[Path]:
    """Give an empty folder in the home, on the disk of the objects. What a killed backup left is deleted."""
    folder = home.folder / "backup"
    with open(home.folder / "backup.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"Another backup of {home.folder} is being made.") from None
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def _schema_of(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        try:
            [version] = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except (sqlite3.Error, TypeError) as error:
            raise BackupError("The database is empty: nst has not been started with this home yet.") from error
        return str(version)


def _files(folder: Path) -> Iterator[Path]:
    """Yield the objects below a folder, sorted within their folders."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        elif _is_object(entry):
            yield Path(entry.path)


def _is_object(entry: "os.DirEntry[str]") -> bool:
    """Return whether the storage server shows an entry of a folder as an object. It does not follow links."""
    return entry.is_file(follow_symlinks=False) and not entry.name.startswith(_INCOMPLETE)
