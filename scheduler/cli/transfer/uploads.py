"""Uploads of photos, which continue where they were interrupted."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import typer

from nst_core.client import ApiError, Client
from nst_core.client.resources.uploads import Upload
from nst_core.errors import NstError
from scheduler.cli.exits import ExitCode
from scheduler.cli.session import Session
from scheduler.cli.transfer.files import in_threads, pause
from scheduler.cli.transfer.photos import Left, Photo
from scheduler.cli.ui.progress import transfer_bar

#: Statuses of answers that concern one file and not the whole upload.
_OF_ONE_FILE = frozenset({400, 404, 413, 422})

#: Files that are listed at a time: with the one after them, as many as storages list in one answer.
_PAGE = 999
#: A deleted upload is usually gone within seconds.
_DELETED_POLL_S, _DELETED_MOST_S = 1.0, 600.0


@dataclass(frozen=True, kw_only=True)
class Hashed:
    """A photo with the SHA-256 hash of its content."""

    photo: Photo
    sha256: str


#: Raises an error if it makes no sense to send photos to a place.
PlaceCheck = Callable[[Upload, Sequence[Hashed]], None]


@dataclass(kw_only=True)
class Sent:
    """What has been uploaded."""

    upload: Upload
    #: Files on this machine by their s3:// addresses.
    paths: dict[str, Path] = field(default_factory=dict)
    failed: list[Left] = field(default_factory=list)


def read_photos(session: Session, photos: Sequence[Photo]) -> tuple[list[Hashed], list[Left]]:
    """Return the photos with their hashes, in order, and the ones that cannot be read."""
    hashes: dict[str, str] = {}
    failed: list[Left] = []

    def read(photo: Photo) -> tuple[Photo, str | OSError]:
        try:
            with photo.path.open("rb") as file:
                return photo, hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return photo, error

    with transfer_bar(session.err, "reading", len(photos)) as advance:
        for photo, found in in_threads(read, photos):
            if isinstance(found, str):
                hashes[photo.name] = found
            else:
                failed.append(_unreadable(photo, found))
            advance()
    read_ones = [Hashed(photo=photo, sha256=hashes[photo.name]) for photo in photos if photo.name in hashes]
    return read_ones, failed


def upload_id_of(photos: Sequence[Hashed]) -> str:
    """Return the id for an upload of these photos; it depends only on their names and contents."""
    lines = sorted(f"{each.sha256} {each.photo.name}\n" for each in photos)
    return f"upl_{hashlib.sha256(''.join(lines).encode()).hexdigest()[:24]}"


def send_photos(
    session: Session, client: Client, photos: Sequence[Hashed], *, thing: str = "job", check: PlaceCheck | None = None
) -> Sent:
    """Upload photos, except those that are already there. The id of the upload depends only on the photos.

    A photo that the API refuses, or that was changed or removed meanwhile, fails alone. `thing` is what Ctrl-C says was
    not submitted. If there is something to send, `check` is called first.
    """
    with uploading(session, thing):
        with session.err.status("Looking for photos that are already uploaded"):
            sent = Sent(upload=_place(session, client, upload_id_of(photos)))
            there = files_there(client, sent.upload.id)
        missing = []
        for each in photos:
            if there.get(each.photo.name) == each.photo.bytes:
                sent.paths[sent.upload.prefix + each.photo.name] = each.photo.path
            else:
                missing.append(each)
        if check is not None and missing:
            check(sent.upload, photos)
        if sent.paths:
            session.note(f"{len(sent.paths):,} of {len(photos):,} photos are already uploaded.")
        with transfer_bar(session.err, "uploading", len(photos), done=len(sent.paths)) as advance:
            _send(client, missing, sent, advance)
    return sent


def _place(session: Session, client: Client, upload_id: str) -> Upload:
    """Create an upload; if one of the same photos is being deleted, wait until its files are removed."""
    for tries in count():
        try:
            return client.create_upload(upload_id)
        except ApiError as error:
            if (error.status, error.code) != (409, "conflict") or tries * _DELETED_POLL_S >= _DELETED_MOST_S:
                raise
        if tries == 0:
            session.note("An upload of the same photos was deleted; waiting until its last files are removed.")
        pause(_DELETED_POLL_S)
    raise AssertionError


def files_there(client: Client, upload_id: str) -> dict[str, int]:
    """Return the files of an upload by path, with their sizes in bytes."""
    return {file.path: file.bytes for file in client.uploaded(upload_id, page=_PAGE)}


def _send(client: Client, photos: Sequence[Hashed], sent: Sent, advance: Callable[[], None]) -> None:
    def put(each: Hashed) -> tuple[Photo, str | Left]:
        photo = each.photo
        try:
            return photo, client.upload(sent.upload.id, photo.name, photo.path, sha256=each.sha256)
        except OSError as error:
            return photo, _unreadable(photo, error)
        except ApiError as error:
            if error.status not in _OF_ONE_FILE:
                raise
            return photo, Left(path=photo.path, code=error.code, message=f"was refused: {error.message}")

    for photo, result in in_threads(put, photos):
        if isinstance(result, str):
            sent.paths[result] = photo.path
        else:
            sent.failed.append(result)
        advance()


@contextmanager
def uploading(session: Session, thing: str) -> Iterator[None]:
    """If Ctrl-C or an outage ends an upload, print that nothing was submitted."""

    def say() -> None:
        session.note(f"\nStopped during the upload; no {thing} was submitted.")
        session.note("Repeat the command to continue the upload.")

    try:
        yield
    except KeyboardInterrupt:
        say()
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except NstError as error:
        if error.retryable:
            say()
        raise


def _unreadable(photo: Photo, error: OSError) -> Left:
    return Left(path=photo.path, code="unreadable", message=f"cannot be read: {error.strerror or error}")
