"""`--dry-run`: what a job would do. Photos on this machine are checked here; nothing is uploaded or submitted."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice

from nst_core.client import Client
from nst_core.client.resources.jobs import Check, CheckProblem, JobInput, JobRequest
from nst_core.client.resources.uploads import Upload
from nst_core.errors import ImageError, ImageTooSmallError
from nst_core.images import DEFAULT_MIN_SIDE_PX, Limits, decode
from scheduler.cli.refusals import too_many
from scheduler.cli.session import Session
from scheduler.cli.submitting import MakeRequest
from scheduler.cli.transfer.inputs import check_not_replaced, find, named
from scheduler.cli.transfer.photos import Left, Photo
from scheduler.cli.transfer.pictures import addresses_in, named_after, read_pictures
from scheduler.cli.transfer.results import Naming
from scheduler.cli.ui.progress import transfer_bar

#: Addresses that one request may have.
_MOST_URIS = 1_000
#: JPEGs are decoded much faster at about this size, and damaged ones are still found.
_LOOK_PX = 2_048


def check_job(
    session: Session,
    client: Client,
    make: MakeRequest,
    inputs: Sequence[str],
    naming: Naming,
    *,
    pictures: Sequence[str] = (),
    are_masks: bool = False,
) -> Check:
    """Return what a job would do, for photos and other pictures on this machine or s3:// addresses.

    The `pictures` are paintings, or masks if they `are_masks`. If one of them is on this machine, objects in the
    storage are not looked up, because it is not there.
    """
    read = read_pictures(session, client, pictures)
    files = [each.photo for each in read]
    least_px = 1 if are_masks else DEFAULT_MIN_SIDE_PX
    problems = [problem for file in files for problem in _problems(file, None, least_px)]
    if problems:
        return Check(valid=False, photos=0, items=0, failing=0, problems=tuple(problems))
    remote = named(inputs)
    if remote is not None and not files:
        return client.check(make(remote, pictures))
    with _place(client) as place:
        addresses = addresses_in(place.prefix, pictures, read)
        if remote is not None:
            return client.check(make(remote, addresses), objects=False)
        if pictures and not are_masks:
            naming = named_after(naming, addresses)
        found = find(session, client, inputs, naming)
        check_not_replaced([*found.photos, *files], found.photos, naming)
        problems = [_left_out(left) for left in found.failed]
        with transfer_bar(session.err, "checking", len(found.photos)) as advance:
            for photo in found.photos:
                problems += _problems(photo, naming.max_px)
                advance()
        bad = {problem.input for problem in problems}
        good = [photo for photo in found.photos if str(photo.path) not in bad]
        checks = _ask(client, place, lambda input: make(input, addresses), good)
    return _merged(client, checks, problems, photos=len(found.photos) + len(found.failed), styles=len(naming.styles))


def _merged(
    client: Client, checks: Sequence[Check], problems: Sequence[CheckProblem], *, photos: int, styles: int
) -> Check:
    """Return one check for the answers of the API and the problems that were found here."""
    times = [check.estimated_s for check in checks if check.estimated_s is not None]
    quota = too_many(client, photos * styles)
    return Check(
        # A check of a request that is refused as a whole counts no photos.
        valid=any(check.valid for check in checks) and all(check.photos for check in checks) and not quota,
        photos=photos,
        items=photos * styles,
        failing=len({problem.input for problem in problems}) * styles + sum(check.failing for check in checks),
        problems=(*quota, *(problem for check in checks for problem in check.problems), *problems),
        estimated_s=sum(times) if times else None,
    )


@contextmanager
def _place(client: Client) -> Iterator[Upload]:
    """Yield an upload without files, whose addresses are only asked about, and delete it."""
    place = client.create_upload()
    try:
        yield place
    finally:
        client.delete_upload(place.id)


def _left_out(left: Left) -> CheckProblem:
    return CheckProblem(code=left.code, message=f"The file {left.message}.", input=str(left.path))


def _problems(photo: Photo, max_px: int | None, least_px: int = DEFAULT_MIN_SIDE_PX) -> list[CheckProblem]:
    """Return what is wrong with a picture on this machine whose result is at most `max_px` long.

    Each of its sides must have at least `least_px`.
    """
    try:
        data = photo.path.read_bytes()
        try:
            decode(data, Limits(max_px=min(max_px or _LOOK_PX, _LOOK_PX), min_side_px=least_px))
        except ImageTooSmallError:
            # The result may be larger than what was decoded: a panorama is too narrow only when it is reduced.
            decode(data, Limits(max_px=max_px, min_side_px=least_px))
    except ImageError as error:
        return [CheckProblem(code=error.code, message=error.message, input=str(photo.path))]
    except OSError as error:
        message = f"The file cannot be read: {error.strerror or error}."
        return [CheckProblem(code="unreadable", message=message, input=str(photo.path))]
    return []


def _ask(client: Client, place: Upload, make: Callable[[JobInput], JobRequest], photos: Sequence[Photo]) -> list[Check]:
    """Return what the API says of photos as if they had been uploaded; it checks only their names."""
    paths, checks = {place.prefix + photo.name: str(photo.path) for photo in photos}, list[Check]()
    for batch in _batches(photos):
        uris = tuple(place.prefix + photo.name for photo in batch)
        check = client.check(make(JobInput(uris=uris)), objects=False)
        problems = (
            each.model_copy(update={"input": paths.get(each.input or "", each.input)}) for each in check.problems
        )
        checks.append(check.model_copy(update={"problems": tuple(problems)}))
    return checks


def _batches(photos: Sequence[Photo]) -> Iterator[list[Photo]]:
    """Yield photos of one folder at a time, at most as many as a request may have.

    Results of uploaded photos keep their folders, but results of addresses have none: two photos with the same name in
    different folders would seem to have the same result.
    """

    def folder_of(photo: Photo) -> str:
        return photo.name.rpartition("/")[0]

    for _, group in groupby(sorted(photos, key=folder_of), key=folder_of):
        rest = iter(group)
        while batch := list(islice(rest, _MOST_URIS)):
            yield batch
