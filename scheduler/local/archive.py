"""The archive of a backup: a tar file, written and read in one pass.

backup.json first, then nst.db, the secrets, and the objects below s3/; at the end SHA256SUMS, as sha256sum writes it.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Self

from pydantic import TypeAdapter, ValidationError

from scheduler.local.home import HomeError

#: The format of archives. A program refuses newer ones.
FORMAT = 1
HEAD, SUMS = "backup.json", "SHA256SUMS"
DATABASE = "nst.db"
#: The other files of a home folder that are kept.
FILES = ("api_key", "message_secret", "s3_secret", "webhook_key", "client.json")
OBJECTS = "s3"
#: Larger than the heads that nst writes, and small enough to read at once.
_MAX_HEAD_BYTES = 16 * 2**20
_BUFFER_BYTES = 2**20


class ArchiveError(HomeError):
    """A file is not a complete and undamaged backup."""

    code = "archive_invalid"


@dataclass(frozen=True, kw_only=True)
class Head:
    """What an archive says of itself."""

    format: int
    #: The version of nst that made it.
    nst: str
    #: The version of the database's schema.
    schema: str
    #: UTC, as 2026-12-31T23:59:59Z.
    created_at: str
    #: The buckets, which may be empty.
    buckets: tuple[str, ...]


class _Hashing:
    """A file to read from, whose bytes are hashed on the way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        return data


class Writer:
    """Writes an archive to a file or a pipe."""

    def __init__(self, target: IO[bytes], head: Head, *, mtime: int) -> None:
        """Write the head. `mtime` is the time of the files that nst makes for the archive, in seconds since 1970."""
        self._tar = tarfile.open(  # noqa: SIM115  # closed by `close`
            fileobj=target, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_BUFFER_BYTES
        )
        assert self._tar.fileobj is not None
        self._stream = self._tar.fileobj
        self._sums = TemporaryFile()  # noqa: SIM115  # closed by `close`
        self._mtime = mtime
        self._add_bytes(HEAD, json.dumps(asdict(head), indent=2).encode() + b"\n")

    def add(self, name: str, file: IO[bytes], *, size: int, mtime: int) -> None:
        """Add `size` bytes of a file; raise OSError if it has fewer."""
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, mtime, 0o600
        hashing = _Hashing(file)
        self._tar.addfile(info, hashing)
        self._sums.write(sum_line(hashing.sha256.hexdigest(), name))

    def finish(self) -> None:
        """Add the checksums, and the end of the archive."""
        size = self._sums.tell()
        self._sums.seek(0)
        info = tarfile.TarInfo(SUMS)
        info.size, info.mtime, info.mode = size, self._mtime, 0o600
        self._tar.addfile(info, self._sums)
        self._tar.close()

    def close(self) -> None:
        """Free what is in use; without `finish`, the archive is incomplete."""
        with suppress(OSError):
            # Otherwise the stream writes its rest when it is freed, to a target that has failed already.
            self._stream.close()
        self._sums.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _add_bytes(self, name: str, data: bytes) -> None:
        with TemporaryFile() as file:
            file.write(data)
            file.seek(0)
            self.add(name, file, size=len(data), mtime=self._mtime)


class Reader:
    """Reads an archive from a file or a pipe, once. Whatever is wrong with it raises ArchiveError."""

    def __init__(self, source: IO[bytes]) -> None:
        """Read the head."""
        with _translated():
            self._tar = tarfile.open(fileobj=source, mode="r|", bufsize=_BUFFER_BYTES)  # noqa: SIM115
            first = self._tar.next()
            if first is None or first.name != HEAD or first.size > _MAX_HEAD_BYTES:
                raise ArchiveError("It is not a backup of nst.")
            data = self._open(first).read()
        self.head = _head_of(data)
        self._head_line = sum_line(hashlib.sha256(data).hexdigest(), HEAD)

    def extract(self, folder: Path) -> int:
        """Write the files into an empty folder, and return how many objects there are.

        The checksums are at the end of an archive: if this raises an error, the files cannot be trusted.
        """
        objects = 0
        for bucket in self.head.buckets:
            if _unsafe(bucket) or "/" in bucket:
                raise ArchiveError(f"A bucket has the name {bucket!r}.")
            (folder / OBJECTS / bucket).mkdir(parents=True, exist_ok=True)
        with TemporaryFile() as found, _translated():
            found.write(self._head_line)
            for member in iter(self._tar.next, None):
                if member.name == SUMS:
                    break
                digest = self._write(member, _place(member, folder))
                found.write(sum_line(digest, member.name))
                objects += member.name.startswith(f"{OBJECTS}/")
            else:
                raise ArchiveError("It is cut off, or damaged: its checksums are missing.")
            found.seek(0)
            _compare(found, self._open(member))
            if self._tar.next() is not None:
                raise ArchiveError("It has files after its checksums.")
        if not (folder / DATABASE).is_file():
            raise ArchiveError("It has no database.")
        return objects

    def _write(self, member: tarfile.TarInfo, path: Path) -> str:
        """Write a file that must not exist yet, and return its SHA-256."""
        source = _Hashing(self._open(member))
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except (FileExistsError, NotADirectoryError) as error:
            raise ArchiveError(f"It has two files of the name {member.name!r}.") from error
        with open(number, "wb") as file:
            while data := source.read(_BUFFER_BYTES):
                file.write(data)
        os.utime(path, (member.mtime, member.mtime))
        return source.sha256.hexdigest()

    def _open(self, member: tarfile.TarInfo) -> IO[bytes]:
        file = self._tar.extractfile(member) if member.type == tarfile.REGTYPE and not member.issparse() else None
        if file is None:
            raise ArchiveError(f"{member.name!r} is not a regular file.")
        return file


def sum_line(sha256: str, name: str) -> bytes:
    """Return a line of sha256sum, which escapes names with newlines or backslashes."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "" if escaped == name else "\\"
    return f"{mark}{sha256}  {escaped}\n".encode(errors="surrogateescape")


def _head_of(data: bytes) -> Head:
    try:
        values = json.loads(data)
        newer = isinstance(values, dict) and isinstance(values.get("format"), int) and values["format"] > FORMAT
        if newer:
            raise ArchiveError(f"It has format {values['format']}, of a newer nst.")
        return TypeAdapter(Head).validate_python(values)
    except (ValueError, RecursionError, ValidationError) as error:
        raise ArchiveError(f"{HEAD} cannot be read.") from error


def _place(member: tarfile.TarInfo, folder: Path) -> Path:
    """Return where a file of an archive belongs in a folder, and never a place outside of it."""
    name = member.name
    is_object = name.startswith(f"{OBJECTS}/") and name.count("/") >= 2
    if _unsafe(name) or not (is_object or name == DATABASE or name in FILES):
        raise ArchiveError(f"It has a file that does not belong there: {name!r}.")
    return folder / name


def _unsafe(name: str) -> bool:
    return "\0" in name or any(part in ("", ".", "..") for part in name.split("/"))


def _compare(found: IO[bytes], listed: IO[bytes]) -> None:
    """Compare the checksums of what was read with those that are listed."""
    while True:
        # Lines have a bound, so that a damaged list without newlines is not read at once.
        mine, theirs = found.readline(), listed.readline(_MAX_HEAD_BYTES)
        if mine != theirs:
            name = (theirs or mine).decode(errors="replace").strip()[66:300]
            raise ArchiveError(f"It is damaged: {name!r} is not what was backed up.")
        if not mine:
            return


@contextmanager
def _translated() -> Iterator[None]:
    """Turn errors of the module tarfile into ArchiveError."""
    try:
        yield
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise ArchiveError(f"It is not a backup of nst, or damaged: {error}.") from error
