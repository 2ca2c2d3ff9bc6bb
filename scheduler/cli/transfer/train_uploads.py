"""What a training reads, from the arguments of a command: files of this machine are uploaded, addresses are named."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nst_core.client import Client
from nst_core.errors import ImageError
from scheduler.cli.exits import UsageError
from scheduler.cli.session import Session
from scheduler.cli.transfer.inputs import find, say_left
from scheduler.cli.transfer.names import readable
from scheduler.cli.transfer.photos import Left
from scheduler.cli.transfer.results import S3, Naming
from scheduler.cli.transfer.uploads import Hashed, read_photos, send_photos

#: Of one run; the API takes no more.
MAX_SAMPLES = 8


@dataclass(frozen=True, kw_only=True)
class TrainInputs:
    """s3:// addresses of all that a training reads."""

    painting: str
    #: A prefix; None: the photos that the scheduler has of its own.
    data: str | None
    samples: tuple[str, ...]


def upload_training(
    session: Session, client: Client, *, painting: str, data: str | None, samples: Sequence[str]
) -> TrainInputs:
    """Return where the painting, the photos and the samples are; those of this machine are in the storage after it.

    Whatever is wrong with a name, or with the painting, is told before anything is uploaded. A file is uploaded once,
    though it may be a sample and one of the photos. Raises UsageError, or ImageError where the painting is none.
    """
    samples = list(dict.fromkeys(samples))
    if len(samples) > MAX_SAMPLES:
        raise UsageError(f"A training takes {MAX_SAMPLES} samples at most, not {len(samples)}.")
    alone = _files(session, client, [painting, *samples])
    if not painting.startswith(S3):
        _check_painting(Path(painting))
    photos = _photos(session, client, data)
    # A sample's results are named after its stem, which is its own among `alone`, and maybe not among the photos.
    stems = {each.photo.path.resolve(): PurePosixPath(each.photo.name).stem for each in photos}
    alone = [each for each in alone if stems.get(each.photo.path.resolve()) != PurePosixPath(each.photo.name).stem]
    stored: dict[Path, str] = {}
    if photos:
        sent = send_photos(session, client, photos, thing="run")
        say_left(session, sent.failed)
        data = sent.upload.prefix
        stored |= {path.resolve(): address for address, path in sent.paths.items()}
    if alone:
        sent = send_photos(session, client, alone, thing="run")
        _refuse(sent.failed)
        stored |= {path.resolve(): address for address, path in sent.paths.items()}
    addressed = [text if text.startswith(S3) else stored[Path(text).resolve()] for text in (painting, *samples)]
    return TrainInputs(
        painting=addressed[0],
        data=data if data is None or data.endswith("/") else data + "/",
        samples=tuple(addressed[1:]),
    )


def _photos(session: Session, client: Client, data: str | None) -> list[Hashed]:
    """Return the training photos of this machine; those that cannot be read are named and left out."""
    if data is None or data.startswith(S3):
        return []
    if Path(data).is_file():
        raise UsageError(f"{readable(data)} is a file; --data takes a folder of photos, or an s3:// prefix.")
    found = find(session, client, [data], Naming())
    photos, unread = read_photos(session, found.photos)
    say_left(session, [*found.failed, *unread])
    if not photos:
        raise UsageError(f"None of the photos in {readable(data)} can be read.")
    return photos


def _files(session: Session, client: Client, texts: Sequence[str]) -> list[Hashed]:
    """Return the painting and the samples that are on this machine, each file once, with stems that all differ."""
    paths = {path.resolve(): path for path in map(Path, (text for text in texts if not text.startswith(S3)))}
    for path in paths.values():
        if path.is_dir():
            raise UsageError(f"{readable(path)} is a folder; one picture is needed.")
    if not paths:
        return []
    # With one format for all of the results, names that differ in the suffix alone are told apart too.
    found = find(session, client, list(map(str, paths.values())), Naming(format="jpeg"))
    _refuse(found.failed)
    files, unread = read_photos(session, found.photos)
    _refuse(unread)
    return files


def _refuse(failed: Sequence[Left]) -> None:
    """Raise UsageError for a picture that a training cannot do without."""
    if failed:
        raise UsageError(f"{readable(failed[0].path)} {failed[0].message}.")


def _check_painting(path: Path) -> None:
    """Raise ImageError if a file is not an image, before a thousand photos are uploaded for nothing."""
    from nst_core.images import decode  # late, because only training needs Pillow

    try:
        decode(path.read_bytes())
    except ImageError as error:
        raise type(error)(f"{path}: {error.message}") from error
