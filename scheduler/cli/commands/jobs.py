"""`nst jobs`: list, show, watch, control and retry jobs, and fetch their results."""

import sys
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from nst_core.client import Client
from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import Job, JobStatus
from scheduler.cli.commands.parameters import SINCE, AsJson, Limit, Yes
from scheduler.cli.deleting import confirm, say_deleted
from scheduler.cli.exits import ExitCode, UsageError
from scheduler.cli.following import code_of, fetch_rest, report, see_through, watch_only
from scheduler.cli.options import parse_labels, parse_since, parse_status
from scheduler.cli.session import Session, first, print_json, session_of
from scheduler.cli.transfer.downloads import Download
from scheduler.cli.transfer.files import write_whole
from scheduler.cli.transfer.inputs import say_left
from scheduler.cli.transfer.names import readable
from scheduler.cli.transfer.results import Target, check_writable, target_of
from scheduler.cli.ui.jobs import items_table, job_page, jobs_table
from scheduler.cli.ui.words import count_of, status_line

app = typer.Typer(no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job: job_…, or your own.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Replace files that have the name of a photo of the job as well.")
]


@app.command("list")
def list_jobs(
    context: typer.Context,
    limit: Limit = 20,
    status: Annotated[str | None, typer.Option(help="Only jobs with this status.", metavar="STATUS")] = None,
    method: Annotated[
        str | None, typer.Option(help="Only jobs with this method: feedforward or optimize.", metavar="METHOD")
    ] = None,
    label: Annotated[
        list[str], typer.Option(metavar="KEY=VALUE", help="Only jobs with this label. Can be repeated.")
    ] = [],  # noqa: B006  Typer takes no tuple
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"Only jobs that were submitted since then: {SINCE}.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    session = session_of(context)
    filters = {
        "status": None if status is None else parse_status(status),
        "method": method,
        "metadata": parse_labels(label),
        "created_after": None if since is None else parse_since(since),
    }
    with session.client() as client:
        found = first(client.jobs, limit, **filters)
    session.show(found, partial(jobs_table, filtered=any(filters.values())), as_json=as_json)


@app.command()
def show(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show everything about one job."""
    session = session_of(context)
    with session.client() as client:
        job = client.job(job_id)
        failed = client.items(job_id, status=ItemStatus.FAILED, page=10) if job.counts.failed else ()
        session.show(job, lambda job: job_page(job, failed), as_json=as_json)


@app.command()
def watch(
    context: typer.Context,
    job_id: JobId,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Folder to write each image to when it is ready.")
    ] = None,
    replace: Replace = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Follow a job until it ends. The exit code tells how it ended."""
    session = session_of(context)
    with session.client() as client:
        job = client.job(job_id)
        if output is None:
            return watch_only(session, client, job, as_json=as_json)
        target = target_of(job, output)
        check_writable(target)
        return see_through(session, client, job, target, keeps_names=not replace, as_json=as_json)


@app.command()
def cancel(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a job. Images that have started are completed, and finished images are kept."""
    session_of(context).show_answer(lambda client: client.cancel(job_id), status_line, as_json=as_json)


@app.command()
def pause(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Pause a job. Images that have started are completed."""
    session_of(context).show_answer(lambda client: client.pause(job_id), status_line, as_json=as_json)


@app.command()
def resume(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Continue a paused job."""
    session_of(context).show_answer(lambda client: client.resume(job_id), status_line, as_json=as_json)


@app.command()
def retry(
    context: typer.Context,
    job_id: JobId,
    code: Annotated[
        list[str], typer.Option("--code", help="Only images that failed with this error code. Can be repeated.")
    ] = [],  # noqa: B006  Typer takes no tuple
    cancelled: Annotated[bool, typer.Option("--cancelled", help="Retry cancelled images too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Retry the failed images of a job that has ended."""
    session_of(context).show_answer(
        lambda client: client.retry(job_id, codes=code or None, cancelled=cancelled), status_line, as_json=as_json
    )


@app.command()
def delete(
    context: typer.Context,
    job_id: JobId,
    results: Annotated[bool, typer.Option("--results", help="Delete its images and reports too.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete a job that has ended. Its images are kept unless you give --results."""
    session = session_of(context)
    with session.client() as client:
        job = client.job(job_id)
        images = count_of(job.counts.succeeded, "image")
        confirm(session, f"Delete job {job.id} and {'' if results else 'keep '}its {images}?", yes=yes)
        client.delete(job.id, results=results)
    if results:
        rest = f"its {images} and reports are removed within minutes."
    else:
        rest = f"kept its {images} in {job.output.prefix}."
    say_deleted(session, job.id, rest)
    if as_json:
        print_json({"id": job.id, "deleted": True, "results": results})


@app.command()
def items(
    context: typer.Context,
    job_id: JobId,
    limit: Limit = 100,
    status: Annotated[ItemStatus | None, typer.Option(help="Only images with this status.")] = None,
    code: Annotated[str | None, typer.Option(help="Only images that failed with this error code.")] = None,
    style: Annotated[str | None, typer.Option(help="Only images of this style.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the images of a job."""
    session = session_of(context)
    with session.client() as client:
        job = client.job(job_id)
        every = client.items(job_id, status=status, code=code, style=style, page=min(limit, 200))
        found = list(islice(every, limit))
        is_whole = next(every, None) is None
    is_all = status is code is style is None
    if not is_whole:
        # The total is known for all images of the job, but not for those that match a filter.
        rest = f"of {job.counts.total:,}" if is_all else "and there are more"
        session.note(f"{count_of(len(found), 'image')} {rest}: -n sets how many are listed.")
    session.show(found, lambda found: items_table(job, found, filtered=not is_all), as_json=as_json)


@app.command()
def image(
    context: typer.Context,
    job_id: JobId,
    item: Annotated[
        int, typer.Argument(metavar="NUMBER", min=0, help="Number of the image, as nst jobs items shows it.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", dir_okay=False)],
    preview: Annotated[
        bool, typer.Option("--preview", help="Write a JPEG preview of an image that is still being optimized.")
    ] = False,
) -> None:
    """Write one image of a job to a file."""
    session = session_of(context)
    with session.client() as client:
        write_whole(output, client.preview(job_id, item) if preview else client.output(job_id, item))
    session.note(f"→ {readable(output)}")


@app.command()
def events(
    context: typer.Context,
    job_id: JobId,
    after: Annotated[int, typer.Option("--after", min=0, help="Only events after the one with this id.")] = 0,
) -> None:
    """Print the events of a job as JSON lines until it ends."""
    with session_of(context).client() as client:
        for event in client.events(job_id, after=after):
            print(event.model_dump_json(), flush=True)


@app.command()
def results(
    context: typer.Context,
    job_id: JobId,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write the images to this folder.")] = None,
    zip: Annotated[
        Path | None,
        typer.Option(
            "--zip",
            help="Write images and reports to this zip file, NAME.zip. A file holds at most 50,000 images; further "
            "ones go to NAME-2.zip and so on.",
            dir_okay=False,
        ),
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Print the failed images instead, as JSON lines.")] = False,
    replace: Replace = False,
) -> ExitCode:
    """Write the images of a job to a folder or a zip file, or print its results as JSON lines.

    If images are written, the exit code tells how the job ended; it is 3 while the job has not ended.
    """
    session = session_of(context)
    if zip is not None and (output is not None or errors):
        raise UsageError("Give only one of --output, --zip and --errors.")
    with session.client() as client:
        if zip is not None:
            check_writable(Target(text=str(zip), file=zip))
            zip.parent.mkdir(parents=True, exist_ok=True)
            for path in client.zip(job_id, zip):
                session.note(f"→ {readable(path)}")
            job = client.job(job_id)
            _say_missing(session, client, job, job.counts.succeeded)
            return code_of(job)
        elif output is not None:
            return _write(session, client, client.job(job_id), output, replace=replace)
        else:
            sys.stdout.buffer.write(client.errors(job_id) if errors else client.results(job_id))
    return ExitCode.OK


def _write(session: Session, client: Client, job: Job, output: str, *, replace: bool) -> ExitCode:
    """Write the results to a folder, except those that are already there."""
    target = target_of(job, output)
    check_writable(target)
    download = Download(client=client, job=job, target=target, keeps_names=not replace)
    fetch_rest(session, job, download)
    session.note(f"{count_of(len(download.files), 'image')} → {readable(output)}")
    left = list(download.failed.values())
    say_left(session, left)
    _say_missing(session, client, job, len(download.files))
    return code_of(job, left)


def _say_missing(session: Session, client: Client, job: Job, images: int) -> None:
    """Print why there are not all images of a job, if the job is the reason."""
    if not job.status.is_terminal:
        session.note(f"The job is still {job.status}: {images:,} of {count_of(job.counts.total, 'image')}.")
    elif job.status is not JobStatus.SUCCEEDED:
        report(session, client, job, "")
