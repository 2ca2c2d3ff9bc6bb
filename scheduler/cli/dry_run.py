"""`--dry-run`: what a job would do, with photos of this machine too; nothing is uploaded or submitted."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice

from nst_core.client import Client
from nst_core.errors import ImageError, ImageTooSmallError
from scheduler.cli.session import Session
from scheduler.cli.transfer.inputs import check_not_replaced, find, named
from scheduler.cli.transfer.photos import Left, Photo
from scheduler.cli.transfer.results import Naming
from scheduler.cli.ui.progress import transfer_bar
from scheduler.domain.jobs import JobInput
from scheduler.resources import Check, JobRequest, Problem

#: Addresses that a request may name.
_MOST_URIS = 1_000
#: JPEGs are much faster to decode at about this size; whether they are whole is seen as well.
_LOOK_PX = 2_048


def check_job(session: Session, client: Client, request: JobRequest, inputs: Sequence[str], naming: Naming) -> Check:
    """Return what a job for photos of this machine, or for addresses, would do; its `input` is left open."""
    remote = named(inputs)
    if remote is not None:
        return client.check(replace(request, input=remote))
    found = find(session, client, inputs, naming)
    photos = found.photos
    check_not_replaced(photos, photos, naming)
    problems = [_left_out(left) for left in found.failed]
    with transfer_bar(session.err, "checking", len(photos)) as advance:
        for photo in photos:
            problems += _problems(photo, request.output.max_px)
            advance()
    bad = {problem.input for problem in problems}
    checks = _ask(client, request, [photo for photo in photos if str(photo.path) not in bad])
    times = [check.estimated_s for check in checks if check.estimated_s is not None]
    total = len(photos) + len(found.failed)
    items = total * len(request.styles)
    too_many = _too_many(client, items)
    return Check(
        # One that is refused as a whole says nothing of its photos.
        valid=any(check.valid for check in checks) and all(check.photos for check in checks) and not too_many,
        photos=total,
        items=items,
        failing=len(bad) * len(request.styles) + sum(check.failing for check in checks),
        problems=(*too_many, *(problem for check in checks for problem in check.problems), *problems),
        estimated_s=sum(times) if times else None,
    )


def _left_out(left: Left) -> Problem:
    return Problem(code=left.code, message=f"The file {left.message}.", input=str(left.path))


def _problems(photo: Photo, max_px: int | None) -> list[Problem]:
    """Return what is wrong with a photo of this machine whose result has at most `max_px` on its longer side."""
    from nst_core.images import decode  # late, because only a dry run needs Pillow

    try:
        data = photo.path.read_bytes()
        try:
            decode(data, max_px=min(max_px or _LOOK_PX, _LOOK_PX))
        except ImageTooSmallError:
            # The result may be larger than what was decoded: a panorama is narrow only when it is reduced.
            decode(data, max_px=max_px)
    except ImageError as error:
        return [Problem(code=error.code, message=error.message, input=str(photo.path))]
    except OSError as error:
        message = f"The file cannot be read: {error.strerror or error}."
        return [Problem(code="unreadable", message=message, input=str(photo.path))]
    return []


def _ask(client: Client, request: JobRequest, photos: Sequence[Photo]) -> list[Check]:
    """Return what the API says of photos as if they had been uploaded; it looks at their names alone."""
    place, checks = client.create_upload(), list[Check]()
    paths = {place.prefix + photo.name: str(photo.path) for photo in photos}
    try:
        for batch in _batches(photos):
            uris = tuple(place.prefix + photo.name for photo in batch)
            check = client.check(replace(request, input=JobInput(uris=uris)), objects=False)
            problems = (replace(each, input=paths.get(each.input or "", each.input)) for each in check.problems)
            checks.append(replace(check, problems=tuple(problems)))
    finally:
        client.delete_upload(place.id)
    return checks


def _batches(photos: Sequence[Photo]) -> Iterator[list[Photo]]:
    """Yield photos of one folder at a time, no more than a request may name.

    Images of photos that are uploaded keep the folders, those of addresses have none: two photos of one name would seem
    to give one image.
    """

    def folder_of(photo: Photo) -> str:
        return photo.name.rpartition("/")[0]

    for _, group in groupby(sorted(photos, key=folder_of), key=folder_of):
        rest = iter(group)
        while batch := list(islice(rest, _MOST_URIS)):
            yield batch


def _too_many(client: Client, items: int) -> list[Problem]:
    """Return what is wrong with so many images in one job; no batch says it of them all."""
    most = client.tenants.own().limits["max_items_per_job"]
    if most is None or items <= most:
        return []
    return [Problem(code="quota_exceeded", message=f"A job has {most:,.0f} images at most.", pointer="/input")]
