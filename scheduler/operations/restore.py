"""A new home folder from a backup: complete, or not at all."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from scheduler.local.archive import ArchiveError, Head, Reader
from scheduler.local.home import Home, HomeError, HomeLockedError
from scheduler.store.schemas import is_known


class RestoreError(HomeError):
    """A backup cannot be restored to this place."""

    code = "restore_refused"


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was restored."""

    head: Head
    objects: int


def restore(source: IO[bytes], home: Home) -> Restored:
    """Make a home folder of an archive; raise ArchiveError or RestoreError.

    The files are written to a folder beside it, which gets the name of the home when all checksums have been compared.
    """
    # The folder that a link leads to can be replaced, the link cannot.
    folder = home.folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RestoreError(f"{folder} is not empty. Name a new folder with --home, or move this one away.")
    if os.path.ismount(folder):
        raise RestoreError(f"{folder} is a mount point, which cannot be replaced. Name a folder in it with --home.")
    reader = Reader(source)
    if not is_known(reader.head.schema):
        raise ArchiveError(
            f"It was made by nst {reader.head.nst}, whose database has the version {reader.head.schema}, which this nst"
            " does not know. Install that version of nst, or a newer one."
        )
    # Its name is always the same, so that what a killed restore left is deleted by the next one.
    beside = Home(folder.with_name(f".{folder.name}.restoring"))
    try:
        with beside.locked():
            _empty(beside.folder)
            try:
                objects = reader.extract(beside.folder)
                os.sync()  # otherwise the name could be on the disk before the files are
                os.rename(beside.folder, folder)
            except BaseException:
                shutil.rmtree(beside.folder)
                raise
    except HomeLockedError:
        raise RestoreError(f"Another process is restoring {folder}.") from None
    return Restored(head=reader.head, objects=objects)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()
