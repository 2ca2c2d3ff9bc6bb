"""Submits a job from the arguments of `nst stylize` or `nst optimize`, and fetches its results."""

from collections.abc import Callable, Sequence

from nst_core.client import Client
from nst_core.client.resources.jobs import JobInput, JobRequest
from nst_core.client.resources.uploads import Upload
from scheduler.cli.exits import ExitCode
from scheduler.cli.following import see_through
from scheduler.cli.refusals import check_own_id, check_request
from scheduler.cli.session import Session
from scheduler.cli.transfer.inputs import named, upload_or_name
from scheduler.cli.transfer.pictures import addresses_in, named_after, read_pictures, send_pictures
from scheduler.cli.transfer.results import Naming
from scheduler.cli.transfer.uploads import Hashed
from scheduler.cli.ui.jobs import check_page
from scheduler.cli.unanswered import submitting

#: Makes the request for an input and the s3:// addresses of the pictures that the job needs besides.
MakeRequest = Callable[[JobInput, Sequence[str]], JobRequest]
#: Stands for the place of an upload that has not been made.
_SOMEWHERE = "s3://somewhere/"


def run_job(
    session: Session,
    client: Client,
    make: MakeRequest,
    inputs: Sequence[str],
    naming: Naming,
    *,
    pictures: Sequence[str] = (),
    are_masks: bool = False,
    own_id: str | None,
    dry_run: bool,
    as_json: bool,
) -> ExitCode:
    """Upload photos, submit a job and see it through; a dry run only prints what the job would do.

    `pictures` are what the job needs besides: paintings, or masks if they `are_masks`. They and `inputs` are files on
    this machine or s3:// addresses. With `own_id`, a repeated command finds the job of the first one. What the API
    would refuse is reported before anything is uploaded.
    """
    check_own_id(own_id)
    if dry_run:
        from scheduler.cli.dry_run import check_job

        check = check_job(session, client, make, inputs, naming, pictures=pictures, are_masks=are_masks)
        session.show(check, check_page, as_json=as_json)
        # As the job would end, as far as this is known.
        known = ExitCode.PARTIAL if check.failing else ExitCode.OK
        return known if check.valid else ExitCode.FAILED
    files = read_pictures(session, client, pictures)
    others = [each.photo for each in files]
    # Wrong fields are found without the API, and even before photos are read.
    places = addresses_in(_SOMEWHERE, pictures, files)
    make(named(inputs) or JobInput(prefix=_SOMEWHERE), places)
    if pictures and not are_masks:
        naming = named_after(naming, places)

    def check_place(place: Upload, photos: Sequence[Hashed]) -> None:
        first = JobInput(uris=(place.prefix + photos[0].photo.name,))
        request = make(first, addresses_in(place.prefix, pictures, files))
        check_request(client, request, photos=len(photos))

    found = upload_or_name(session, client, inputs, naming, own_id=own_id, others=others, check=check_place)
    request = make(found.input, send_pictures(session, client, pictures, files))
    with submitting(session, client, request, thing="job", listing="jobs") as key:
        job = client.submit(request, idempotency_key=key) if own_id is None else client.put(own_id, request)
    return see_through(session, client, job, naming.target, found, as_json=as_json)
