"""Single pictures of a command, such as a painting or samples: files on this machine, or s3:// addresses."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nst_core.client import Client
from scheduler.cli.exits import UsageError
from scheduler.cli.session import Session
from scheduler.cli.transfer.inputs import find
from scheduler.cli.transfer.names import readable
from scheduler.cli.transfer.photos import Left
from scheduler.cli.transfer.results import S3, Naming
from scheduler.cli.transfer.uploads import Hashed, read_photos, send_photos
from scheduler.domain.naming import style_of_painting


def read_pictures(session: Session, client: Client, texts: Sequence[str]) -> list[Hashed]:
    """Return the pictures that are files on this machine, each once, with stems that all differ.

    Raises UsageError if one of them cannot be used.
    """
    for text in texts:
        if "\0" in text:
            raise UsageError(f"{text!r} is not the name of a file.")
    paths = {path.resolve(): path for path in map(Path, (text for text in texts if not text.startswith(S3)))}
    for path in paths.values():
        if path.is_dir():
            raise UsageError(f"{readable(path)} is a folder; one picture is needed.")
    if not paths:
        return []
    # As if all results had the same format, so that names which differ only in their suffix become different.
    found = find(session, client, list(map(str, paths.values())), Naming(format="jpeg"))
    _refuse(found.failed)
    pictures, unread = read_photos(session, found.photos)
    _refuse(unread)
    return pictures


def send_pictures(
    session: Session, client: Client, texts: Sequence[str], pictures: Sequence[Hashed], *, thing: str = "job"
) -> list[str]:
    """Upload pictures, and return the s3:// addresses of all `texts`. The same picture always has the same address."""
    stored: dict[Path, str] = {}
    if pictures:
        sent = send_photos(session, client, pictures, thing=thing)
        _refuse(sent.failed)
        stored = {path.resolve(): address for address, path in sent.paths.items()}
    return [text if text.startswith(S3) else stored[Path(text).resolve()] for text in texts]


def addresses_in(prefix: str, texts: Sequence[str], pictures: Sequence[Hashed]) -> list[str]:
    """Return the s3:// addresses that all `texts` will have if the pictures are uploaded to a place."""
    names = {each.photo.path.resolve(): each.photo.name for each in pictures}
    return [text if text.startswith(S3) else prefix + names[Path(text).resolve()] for text in texts]


def named_after(naming: Naming, paintings: Sequence[str]) -> Naming:
    """Return a naming whose styles are those of paintings, which are given by their s3:// addresses."""
    return replace(naming, styles=tuple(map(style_of_painting, paintings)))


def _refuse(failed: Sequence[Left]) -> None:
    """Raise UsageError for the first picture that cannot be used."""
    if failed:
        raise UsageError(f"{readable(failed[0].path)} {failed[0].message}.")
