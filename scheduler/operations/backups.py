"""Backup of a home folder, and its restoration."""

import fcntl
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Annotated

import typer

from scheduler.cli.exits import ExitCode
from scheduler.cli.session import session_of
from scheduler.cli.ui.words import count_of
from scheduler.local.backup import BackupError, HomeBackup
from scheduler.local.home import Home
from scheduler.operations.restore import restore as restore_home

#: Standard input or output.
_PIPE = Path("-")
#: The names of files that are being written.
_PART = ".nst-backup-{}.part"


def backup(
    context: typer.Context,
    target: Annotated[
        Path, typer.Argument(help="The new file, or a folder for it, or - for standard output.", show_default=False)
    ],
    home: Annotated[
        Path | None, typer.Option(help="The home folder to back up. Default: the --home of nst.", file_okay=False)
    ] = None,
) -> ExitCode:
    """Write all data of a home folder to one file.

    nst up may run meanwhile: the file has the database, all objects and the keys as they were at one moment. Whoever
    can read the file can use the keys. nst restore makes a home of it.
    """
    session = session_of(context)
    source = HomeBackup(Home(home or session.home))
    with _target(target) as (file, name):
        made = source.write(file)
    session.note(
        f"Backed up the database and {count_of(made.objects, 'object')} ({made.nbytes / 1e6:,.1f} MB) to {name}."
        " It contains keys: keep it private."
    )
    return ExitCode.OK


def restore(
    context: typer.Context,
    source: Annotated[Path, typer.Argument(help="A file of nst backup, or - for standard input.", show_default=False)],
    home: Annotated[
        Path | None, typer.Option(help="The new home folder. Default: the --home of nst.", file_okay=False)
    ] = None,
) -> ExitCode:
    """Make a new home folder of a backup.

    The folder must be empty or missing. It appears when the whole file has been read and all checksums are right.
    Start nst up with it: unfinished jobs and trainings continue.
    """
    session = session_of(context)
    folder = home or session.home
    with _source(source) as file:
        made = restore_home(file, Home(folder))
    session.note(
        f"Restored the database and {count_of(made.objects, 'object')} to {Home(folder).folder}, from a backup of"
        f" {made.head.created_at} by nst {made.head.nst}."
    )
    return ExitCode.OK


@contextmanager
def _target(path: Path) -> Iterator[tuple[IO[bytes], str]]:
    """Give the file to write to, and its name. It has that name when it is complete."""
    if path == _PIPE:
        try:
            yield sys.stdout.buffer, "standard output"
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            # A list may be cut off by its reader, but not a backup.
            raise BackupError("Nobody reads standard output any longer: the backup is not complete.") from error
        return
    if path.is_dir():
        path = path / time.strftime("nst-%Y%m%d-%H%M%S.tar", time.gmtime())
    if path.exists():
        raise BackupError(f"{path} exists already.")
    with _part(path.parent) as (part, file):
        yield file, str(path)
        file.flush()
        os.fsync(file.fileno())
        if path.exists():  # another backup was faster
            raise BackupError(f"{path} exists already.")
        part.rename(path)


@contextmanager
def _part(folder: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """Give a new file for a backup that is being written. What killed backups left in the folder is deleted.

    The file is locked until its backup ends, also when it is killed. So two backups never have the same one, and none
    deletes that of another.
    """
    for left in folder.glob(_PART.format("*")):
        with suppress(OSError), open(left, "r+b") as unused:
            fcntl.flock(unused, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
    while True:
        part = folder / _PART.format(secrets.token_hex(6))
        try:
            number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            error.filename = str(folder)  # not the name that nobody chose
            raise
        with open(number, "wb") as file:
            with suppress(OSError):  # without locks, nothing is deleted either
                fcntl.flock(file, fcntl.LOCK_EX)
            if not part.exists():
                continue  # deleted by another backup before it was locked
            try:
                yield part, file
            finally:
                part.unlink(missing_ok=True)
            return


@contextmanager
def _source(path: Path) -> Iterator[IO[bytes]]:
    if path == _PIPE:
        yield sys.stdin.buffer
        return
    with open(path, "rb") as file:
        yield file
