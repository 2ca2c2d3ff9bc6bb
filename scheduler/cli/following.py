"""A job from its submission to its results on this machine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import typer

from nst_core.client import Client, UnreachableError
from nst_core.protocol.chunks import ItemStatus, Method
from scheduler.cli.exits import ExitCode, code_for_status
from scheduler.cli.session import Session, print_json
from scheduler.cli.transfer.downloads import Download, Follower
from scheduler.cli.transfer.inputs import Inputs, say_left
from scheduler.cli.transfer.photos import Left
from scheduler.cli.transfer.results import Target
from scheduler.cli.ui import jobs as render
from scheduler.cli.ui.iterations import iteration_bars
from scheduler.cli.ui.progress import job_bar, transfer_bar
from scheduler.domain.jobs import JobInput
from scheduler.resources import Item, Job, JobRequest


def submitted(client: Client, request: JobRequest, own_id: str | None) -> Job:
    """Submit a job, under an id of the user's own if there is one."""
    return client.submit(request) if own_id is None else client.put(own_id, request)


def see_through(
    session: Session, client: Client, job: Job, target: Target, inputs: Inputs | None = None, *, as_json: bool
) -> ExitCode:
    """Show a job's progress to its end, write its results as they come, and say how it ended."""
    inputs = inputs or Inputs(input=JobInput())
    download = None
    if target.prefix is None:
        download = Download(client=client, job=job, target=target, protected=inputs.identities)
    job = follow(session, client, job, download)
    if download is not None:
        fetch_rest(session, job, download)
    report(session, client, job, target.text, inputs.paths)
    say_left(session, [*inputs.failed, *(download.failed.values() if download else ())])
    if as_json:
        print_json(job_json(client, job, inputs, download))
    return code_of(job, inputs, download)


def watch_only(session: Session, client: Client, job: Job, *, as_json: bool) -> ExitCode:
    """Show a job's progress to its end, and say how it ended and how to fetch its results."""
    job = follow(session, client, job)
    if as_json:
        print_json(job)
    else:
        report(session, client, job, job.output.prefix or "")
        if job.counts.succeeded:
            session.hint("Fetch the images with", "jobs", "results", job.id, "-o", "DIR")
    return code_for_status(job.status)


def code_of(job: Job, inputs: Inputs, download: Download | None) -> ExitCode:
    """Return the exit code for a finished job: what is missing here is missing, even if the job itself succeeded."""
    code = code_for_status(job.status)
    missing = inputs.failed or (download is not None and download.failed)
    return ExitCode.PARTIAL if missing and code is ExitCode.OK else code


def follow(session: Session, client: Client, job: Job, download: Download | None = None) -> Job:
    """Show a job's progress until it is finished, and return it; Ctrl-C leaves the job running."""
    with _hints(session, job, download), Follower(download) if download else nullcontext() as follower:
        if session.err.is_terminal:
            session.err.print(job.id, style="dim", soft_wrap=True)

        def note() -> str:
            if follower is not None and follower.error is not None:
                return "writing stopped"
            return f"{len(download.files):,} written" if download is not None and download.files else ""

        if job.method is Method.OPTIMIZE:
            with iteration_bars(session.err, note) as show:
                running = partial(client.items, job.id, status=ItemStatus.RUNNING)
                return client.wait(job.id, on_poll=lambda job: show(job, list(running())))
        with job_bar(session.err, note) as update:
            return client.wait(job.id, on_change=update)


def fetch_rest(session: Session, job: Job, download: Download) -> None:
    """Write those results of a job that are not there yet, with a progress bar; say how to go on if that stops."""
    try:
        done = len(download.files)
        with transfer_bar(session.err, "writing", job.counts.succeeded, done=done) as advance:
            download.on_done = lambda count: advance()
            download.fetch_all()
    except (OSError, UnreachableError, KeyboardInterrupt):
        session.err.print(f"\n{len(download.files):,} of {job.counts.succeeded:,} images are written.", soft_wrap=True)
        session.hint("Fetch the rest with", "jobs", "results", job.id, "-o", download.target.text)
        raise
    if download.failed:
        session.hint("Try the rest again with", "jobs", "results", job.id, "-o", download.target.text)


def job_json(client: Client, job: Job, inputs: Inputs, download: Download | None) -> dict[str, Any]:
    """Return a finished job with its images, the files of this machine that they are of and in, and what is missing."""

    def row(item: Item) -> dict[str, Any]:
        file = download and download.files.get(item.id)
        photo = inputs.paths.get(item.input)
        unwritten = download and download.failed.get(item.id)
        return {
            "input": item.input,
            "photo": None if photo is None else str(photo),
            "style": item.style,
            "status": item.status,
            "output": item.output,
            "file": str(file) if file else None,
            "error": item.error,
            "file_error": {"code": unwritten.code, "message": unwritten.message} if unwritten else None,
        }

    return {
        "job": job,
        "images": [row(item) for item in client.items(job.id)],
        "not_sent": [_left_json(left) for left in inputs.failed],
        "skipped": [_left_json(left) for left in inputs.skipped],
    }


def report(session: Session, client: Client, job: Job, place: str, paths: Mapping[str, Path] | None = None) -> None:
    """Say how a job ended, and the first of what failed."""
    session.err.print(render.job_summary(job, place), soft_wrap=True)
    if job.counts.failed:
        failures = client.items(job.id, status=ItemStatus.FAILED, page=10)
        session.err.print(render.failures_list(job, failures, paths), soft_wrap=True)


@contextmanager
def _hints(session: Session, job: Job, download: Download | None) -> Iterator[None]:
    """Say how to go on with a job when something ends the watching of it."""
    watch = ["jobs", "watch", job.id, *(["-o", download.target.text] if download is not None else [])]
    try:
        yield
    except KeyboardInterrupt:
        session.err.print("")
        session.hint("The job goes on. Watch it with", *watch)
        session.hint("or stop it with", "jobs", "cancel", job.id)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except UnreachableError:
        session.hint("The job is kept. Once the API is there again, watch it with", *watch)
        raise


def _left_json(left: Left) -> dict[str, str]:
    return {"file": str(left.path), "code": left.code, "message": left.message}
