"""What a training reads, from the arguments of a command: files are uploaded, s3:// addresses stay as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nst_core.client import Client
from nst_core.errors import ImageError, ImageTooLargeError
from scheduler.cli.exits import UsageError
from scheduler.cli.session import Session
from scheduler.cli.transfer.inputs import find, own_tenant, say_left
from scheduler.cli.transfer.names import readable
from scheduler.cli.transfer.pictures import read_pictures, send_pictures
from scheduler.cli.transfer.results import S3, Naming
from scheduler.cli.transfer.uploads import Hashed, read_photos, send_photos

#: Samples of one training; the API takes no more.
MAX_SAMPLES = 8


@dataclass(frozen=True, kw_only=True)
class TrainInputs:
    """The s3:// addresses of everything that a training reads."""

    painting: str
    #: A prefix; None means the scheduler's own photos.
    data: str | None
    samples: tuple[str, ...]


def upload_training(
    session: Session,
    client: Client,
    *,
    painting: str,
    data: str | None,
    samples: Sequence[str],
    style_size_px: int | None = None,
) -> TrainInputs:
    """Upload the painting, the photos and the samples that are on this machine, and return all addresses.

    A wrong name or a painting that cannot be used, with `style_size_px` as its longest side if that is known, is
    reported before anything is uploaded. A photo that is also a sample is uploaded once. Raises UsageError, or
    ImageError for the painting.
    """
    samples = list(dict.fromkeys(samples))
    if len(samples) > MAX_SAMPLES:
        raise UsageError(f"A training takes at most {MAX_SAMPLES} samples, not {len(samples)}.")
    if data is None and (tenant := own_tenant(client)) is not None and tenant.training_photos is False:
        raise UsageError("Give photos to train on with --data: the scheduler has none of its own (NST_TRAINING_DATA).")
    pictures = read_pictures(session, client, [painting, *samples])
    if not painting.startswith(S3):
        _check_painting(Path(painting), style_size_px)
    photos = _photos(session, client, data)
    # The results of a sample are named by its stem. It is unique among `pictures`, but may not be among the photos.
    shared = {each.photo.path.resolve(): PurePosixPath(each.photo.name).stem for each in photos}
    stored: dict[Path, str] = {}
    if photos:
        sent = send_photos(session, client, photos, thing="run")
        say_left(session, sent.failed)
        data = sent.upload.prefix
        stored = {path.resolve(): address for address, path in sent.paths.items()}

    def in_photos(text: str) -> str | None:
        path = Path(text).resolve()
        stems = [PurePosixPath(each.photo.name).stem for each in pictures if each.photo.path.resolve() == path]
        return stored.get(path) if stems == [shared.get(path)] else None

    texts = [in_photos(text) or text for text in (painting, *samples)]
    alone = {Path(text).resolve() for text in texts if not text.startswith(S3)}
    rest = [each for each in pictures if each.photo.path.resolve() in alone]
    addresses = send_pictures(session, client, texts, rest, thing="run")
    return TrainInputs(
        painting=addresses[0],
        data=data if data is None or data.endswith("/") else data + "/",
        samples=tuple(addresses[1:]),
    )


def _photos(session: Session, client: Client, data: str | None) -> list[Hashed]:
    """Return the training photos on this machine; the ones that cannot be read are reported and left out."""
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


def _check_painting(path: Path, style_size_px: int | None) -> None:
    """Raise ImageError for a painting that the API would refuse, before a thousand photos are uploaded for nothing."""
    from nst_core.images import Limits, decode  # late, because only training needs Pillow
    from nst_core.training.paintings import MAX_PAINTING_BYTES, MIN_PAINTING_PX, style_size

    try:
        if path.stat().st_size > MAX_PAINTING_BYTES:
            raise ImageTooLargeError(f"A painting may have at most {MAX_PAINTING_BYTES:,} bytes.")
        height, width, _ = decode(path.read_bytes(), Limits(min_side_px=MIN_PAINTING_PX)).rgb.shape
        if style_size_px is not None:
            style_size((width, height), style_size_px)
    except ImageError as error:
        raise type(error)(f"{path}: {error.message}") from error
