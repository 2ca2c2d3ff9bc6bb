"""What a training reads, from the arguments of a command: files of this machine are uploaded, addresses are named."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nst_core.errors import ImageError
from nst_core.images import decode
from scheduler.cli.exits import UsageError
from scheduler.cli.inputs import S3, Format, uploading
from scheduler.cli.progress import transfer_bar
from scheduler.cli.session import Session
from scheduler.cli.transfer import Photo, find_photos, upload_files
from scheduler.client import Client

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
    photos = _photos(data)
    alone = _files([painting, *samples])
    if not painting.startswith(S3):
        _check_painting(Path(painting))
    # A sample's results are named after its stem, which is its own among `alone`, and maybe not among the photos.
    stems = {photo.path.resolve(): PurePosixPath(photo.name).stem for photo in photos}
    alone = [file for file in alone if stems.get(file.path.resolve()) != PurePosixPath(file.name).stem]
    addresses: dict[Path, str] = {}
    with uploading(session, "run"), transfer_bar(session.err, "uploading", len(photos) + len(alone)) as advance:
        if photos:
            upload, addresses = upload_files(client, photos, on_done=advance)
            data = upload.prefix
        if alone:
            addresses |= upload_files(client, alone, on_done=advance)[1]
    stored = {path.resolve(): address for path, address in addresses.items()}
    addressed = [text if text.startswith(S3) else stored[Path(text).resolve()] for text in (painting, *samples)]
    return TrainInputs(
        painting=addressed[0],
        data=data if data is None or data.endswith("/") else data + "/",
        samples=tuple(addressed[1:]),
    )


def _photos(data: str | None) -> list[Photo]:
    """Return the training photos of this machine."""
    if data is None or data.startswith(S3):
        return []
    if Path(data).is_file():
        raise UsageError(f"{data} is a file; --data takes a folder of photos, or an s3:// prefix.")
    return find_photos([Path(data)], format=Format.KEEP)


def _files(texts: Sequence[str]) -> list[Photo]:
    """Return the painting and the samples that are on this machine, each file once, with stems that all differ."""
    paths = {path.resolve(): path for path in map(Path, (text for text in texts if not text.startswith(S3)))}
    for path in paths.values():
        if path.is_dir():
            raise UsageError(f"{path} is a folder; one picture is needed.")
    # With one format for all of the results, names that differ in the suffix alone are told apart too.
    return find_photos(list(paths.values()), format=Format.JPEG) if paths else []


def _check_painting(path: Path) -> None:
    """Raise ImageError where a file is no picture: it would be a pity to find out after a thousand photos."""
    try:
        decode(path.read_bytes())
    except ImageError as error:
        raise type(error)(f"{path}: {error.message}") from error
