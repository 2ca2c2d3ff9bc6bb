"""Submits a job from the arguments of `nst stylize` or `nst optimize`, and fetches its results."""

from collections.abc import Callable, Sequence

from nst_core.client import Client
from nst_core.client.resources.jobs import JobInput, JobRequest
from scheduler.cli.exits import ExitCode
from scheduler.cli.following import see_through
from scheduler.cli.session import Session
from scheduler.cli.transfer.inputs import upload_or_name
from scheduler.cli.transfer.pictures import read_pictures, send_pictures
from scheduler.cli.transfer.results import Naming
from scheduler.cli.ui.jobs import check_page

#: Makes the request for an input and the s3:// addresses of the pictures that the job needs besides.
MakeRequest = Callable[[JobInput, Sequence[str]], JobRequest]


def run_job(
    session: Session,
    client: Client,
    make: MakeRequest,
    inputs: Sequence[str],
    naming: Naming,
    *,
    pictures: Sequence[str] = (),
    own_id: str | None,
    dry_run: bool,
    as_json: bool,
) -> ExitCode:
    """Upload photos, submit a job and see it through; a dry run only prints what the job would do.

    `pictures` are what the job needs besides: paintings or masks. They and `inputs` are files on this machine or
    s3:// addresses. With `own_id`, a repeated command finds the job of the first one.
    """
    if dry_run:
        from scheduler.cli.dry_run import check_job

        check = check_job(session, client, make, inputs, naming, pictures=pictures)
        session.show(check, check_page, as_json=as_json)
        return ExitCode.OK if check.valid else ExitCode.FAILED
    files = read_pictures(session, client, pictures)
    others = [each.photo for each in files]
    found = upload_or_name(session, client, inputs, naming, own_id=own_id, others=others)
    request = make(found.input, send_pictures(session, client, pictures, files))
    job = client.submit(request) if own_id is None else client.put(own_id, request)
    return see_through(session, client, job, naming.target, found, as_json=as_json)
