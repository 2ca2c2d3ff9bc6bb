"""`nst jobs`: list, show, watch, steer and retry jobs, and fetch what they made."""

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from nst_core.client import Client
from nst_core.protocol.chunks import ItemStatus, Method
from scheduler.cli.deleting import Yes, confirm, say_deleted
from scheduler.cli.exits import ExitCode, UsageError
from scheduler.cli.following import fetch_rest, see_through, watch_only
from scheduler.cli.options import parse_labels, parse_span, parse_status
from scheduler.cli.session import Session, print_json, session_of
from scheduler.cli.transfer.downloads import Download
from scheduler.cli.transfer.files import write_whole
from scheduler.cli.transfer.inputs import say_left
from scheduler.cli.transfer.names import readable
from scheduler.cli.transfer.results import Target, check_writable, target_of
from scheduler.cli.ui import jobs as render
from scheduler.cli.ui.words import count_of
from scheduler.domain.jobs import Priority
from scheduler.resources import Job

app = typer.Typer(no_args_is_help=True)

JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="The job's id: job_…, or the one that you gave it.", show_default=False)
]
Labels = Annotated[
    list[str],
    typer.Option("--label", metavar="KEY=VALUE", help="Metadata; may be given several times.", show_default=False),
]
OwnId = Annotated[
    str | None,
    typer.Option("--id", help="An id of your own: the same command again finds the same job.", show_default=False),
]
ExpiresAfter = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Cancel what is not begun after 30min, 2h or 1d.", show_default=False),
]
MaxFailures = Annotated[
    int | None, typer.Option(min=0, help="End the job when more images have failed.", show_default=False)
]
MaxAttempts = Annotated[
    int | None, typer.Option(min=1, max=10, help="Tries at an image after faults that may pass.", show_default=False)
]
ResultName = Annotated[
    str, typer.Option("--name", metavar="TEMPLATE", help="Names of results, of {stem}, {index}, {style} and {ext}.")
]
AmongJobs = Annotated[Priority, typer.Option("--priority", help="Among your jobs.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on the standard output, all else on the standard error.")]


@app.command("list")
def list_jobs(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show at most so many.")] = 20,
    status: Annotated[
        str | None,
        typer.Option(help="Only jobs of this status, as the list has it.", metavar="STATUS", show_default=False),
    ] = None,
    method: Annotated[Method | None, typer.Option(help="Only jobs of this method.", show_default=False)] = None,
    label: Labels = [],  # noqa: B006  Typer takes no tuple
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only of the last 30min, 2h or 7d.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    session = session_of(context)
    labels = parse_labels(label)
    after = None if since is None else datetime.now(UTC) - timedelta(seconds=parse_span(since))
    with session.client() as client:
        found = client.jobs(
            status=None if status is None else parse_status(status),
            method=method,
            metadata=labels,
            created_after=after,
            page=min(limit, 200),
        )
        jobs = list(islice(found, limit))
    if as_json:
        print_json(jobs)
    else:
        session.out.print(render.jobs_table(jobs))


@app.command()
def show(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show all about one job."""
    session = session_of(context)
    with session.client() as client:
        job = client.job(job_id)
        if as_json:
            print_json(job)
        else:
            failures = client.items(job_id, status=ItemStatus.FAILED, page=10) if job.counts.failed else ()
            session.out.print(render.job_page(job, failures))


@app.command()
def watch(
    context: typer.Context,
    job_id: JobId,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Write the images into this folder as they come.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Follow a job to its end; the exit code says how it ended."""
    session = session_of(context)
    with session.client() as client:
        job = client.job(job_id)
        if output is None:
            return watch_only(session, client, job, as_json=as_json)
        target = target_of(job, output)
        check_writable(target)
        return see_through(session, client, job, target, as_json=as_json)


@app.command()
def cancel(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a job; images in hand are finished, and finished images are kept."""
    _change(context, lambda client: client.cancel(job_id), as_json=as_json)


@app.command()
def pause(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Send nothing more of a job to workers; images in hand are finished."""
    _change(context, lambda client: client.pause(job_id), as_json=as_json)


@app.command()
def resume(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Let a paused job go on."""
    _change(context, lambda client: client.resume(job_id), as_json=as_json)


@app.command()
def retry(
    context: typer.Context,
    job_id: JobId,
    code: Annotated[
        list[str],
        typer.Option("--code", help="Only images that failed with this code; may be given several times."),
    ] = [],  # noqa: B006  Typer takes no tuple
    cancelled: Annotated[bool, typer.Option("--cancelled", help="The cancelled images too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Do the failed images of an ended job again."""
    _change(context, lambda client: client.retry(job_id, codes=code or None, cancelled=cancelled), as_json=as_json)


@app.command()
def delete(
    context: typer.Context,
    job_id: JobId,
    results: Annotated[bool, typer.Option("--results", help="Delete its images and reports too.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete a job that has ended; its images stay unless --results is given."""
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
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show at most so many.")] = 100,
    status: Annotated[ItemStatus | None, typer.Option(help="Only images of this status.", show_default=False)] = None,
    code: Annotated[
        str | None, typer.Option(help="Only images that failed with this code.", show_default=False)
    ] = None,
    style: Annotated[str | None, typer.Option(help="Only images of this style.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List the images of a job."""
    session = session_of(context)
    with session.client() as client:
        job = client.job(job_id)
        every = client.items(job_id, status=status, code=code, style=style, page=min(limit, 200))
        found = list(islice(every, limit))
        is_whole = next(every, None) is None
    if not is_whole:
        # The job's counts tell how many there are of all items; of some, only that there are more.
        rest = f"of {job.counts.total:,}" if status is code is style is None else "and there are more"
        note = f"{count_of(len(found), 'image')} {rest}: -n sets how many are listed."
        session.err.print(note, soft_wrap=True)
    if as_json:
        print_json(found)
    else:
        session.out.print(render.items_table(job, found))


@app.command()
def image(
    context: typer.Context,
    job_id: JobId,
    item: Annotated[int, typer.Argument(metavar="NUMBER", min=0, help="Of the image, as nst jobs items lists it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file.", dir_okay=False, show_default=False)],
    preview: Annotated[bool, typer.Option("--preview", help="How an optimisation looks now, as a JPEG file.")] = False,
) -> None:
    """Write one image of a job into a file."""
    session = session_of(context)
    with session.client() as client:
        write_whole(output, client.preview(job_id, item) if preview else client.output(job_id, item))
    session.err.print(f"→ {readable(output)}", soft_wrap=True, markup=False)


@app.command()
def events(
    context: typer.Context,
    job_id: JobId,
    after: Annotated[int, typer.Option("--after", min=0, help="Only what came after the event of this id.")] = 0,
) -> None:
    """Print what happens to a job as JSON lines, from its beginning to its end."""
    with session_of(context).client() as client:
        for event in client.events(job_id, after=after):
            print(json.dumps(vars(event)), flush=True)


@app.command()
def results(
    context: typer.Context,
    job_id: JobId,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="Write the images into this folder.", show_default=False),
    ] = None,
    zip: Annotated[
        Path | None,
        typer.Option("--zip", help="Write images and reports into this zip file.", dir_okay=False, show_default=False),
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Print what failed instead, as JSON lines.")] = False,
) -> ExitCode:
    """Write a job's images into a folder or a zip file, or print its results as JSON lines."""
    session = session_of(context)
    if zip is not None and (output is not None or errors):
        raise UsageError("Give one of --output, --zip and --errors.")
    with session.client() as client:
        if zip is not None:
            check_writable(Target(text=str(zip), file=zip))
            zip.parent.mkdir(parents=True, exist_ok=True)
            for path in client.zip(job_id, zip):
                session.err.print(f"→ {readable(path)}", soft_wrap=True, markup=False)
        elif output is not None:
            return _write(session, client, client.job(job_id), output)
        else:
            sys.stdout.buffer.write(client.errors(job_id) if errors else client.results(job_id))
    return ExitCode.OK


def _write(session: Session, client: Client, job: Job, output: str) -> ExitCode:
    """Write the results that there are into a folder, without those that are there already."""
    target = target_of(job, output)
    check_writable(target)
    download = Download(client=client, job=job, target=target)
    fetch_rest(session, job, download)
    session.err.print(f"{count_of(len(download.files), 'image')} → {readable(output)}", soft_wrap=True, markup=False)
    say_left(session, list(download.failed.values()))
    return ExitCode.PARTIAL if download.failed else ExitCode.OK


def _change(context: typer.Context, change: Callable[[Client], Job], *, as_json: bool) -> None:
    """Change a job and say how it stands."""
    session = session_of(context)
    with session.client() as client:
        job = change(client)
    if as_json:
        print_json(job)
    else:
        session.out.print(render.status_text(job.status), f"[dim]{job.id}[/]")
