"""Following a job until its results are on this machine."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import typer

from nst_core.client import Client
from nst_core.client.resources.items import Item, ItemStatus
from nst_core.client.resources.jobs import Job, JobInput, JobStatus
from nst_core.errors import NstError
from scheduler.cli.exits import ExitCode, code_for_status
from scheduler.cli.session import Session, print_json
from scheduler.cli.transfer.downloads import Download, Follower
from scheduler.cli.transfer.inputs import Inputs, say_left
from scheduler.cli.transfer.photos import Left
from scheduler.cli.transfer.results import Target
from scheduler.cli.ui.jobs import failures_list, job_summary
from scheduler.cli.ui.progress import job_bar, transfer_bar
from scheduler.domain.codes import OUTPUT_IS_INPUT


def see_through(
    session: Session,
    client: Client,
    job: Job,
    target: Target,
    inputs: Inputs | None = None,
    *,
    keeps_names: bool = False,
    as_json: bool,
) -> ExitCode:
    """Show the progress of a job until it ends, write its results when they are ready, and print how it ended.

    With `keeps_names`, files with the names of the job's photos are not replaced: for a command that does not know
    which files these are.
    """
    inputs = inputs or Inputs(input=JobInput())
    download = None
    if target.prefix is None:
        protected = inputs.identities
        download = Download(client=client, job=job, target=target, protected=protected, keeps_names=keeps_names)
    job = follow(session, client, job, download)
    if download is not None:
        fetch_rest(session, job, download)
    report(session, client, job, target.text, inputs.paths)
    left = [*inputs.failed, *(download.failed.values() if download else ())]
    say_left(session, left)
    if as_json:
        print_json(job_json(client, job, inputs, download))
    return code_of(job, left)


def watch_only(session: Session, client: Client, job: Job, *, as_json: bool) -> ExitCode:
    """Show the progress of a job until it ends, and print how it ended and how to fetch its results."""
    job = follow(session, client, job)
    if as_json:
        print_json(job)
    else:
        report(session, client, job, job.output.prefix or "")
        if job.counts.succeeded:
            session.hint("Fetch the images with", "jobs", "results", job.id, "-o", "DIR")
    return code_for_status(job.status)


def code_of(job: Job, left: Sequence[Left] = ()) -> ExitCode:
    """Return the exit code for a job: PARTIAL if it has not ended, or if it succeeded but files are left out."""
    if not job.status.is_terminal:
        return ExitCode.PARTIAL
    code = code_for_status(job.status)
    return ExitCode.PARTIAL if left and code is ExitCode.OK else code


def follow(session: Session, client: Client, job: Job, download: Download | None = None) -> Job:
    """Show the progress of a job until it is finished, and return it. Ctrl-C does not stop the job."""
    watch = ["jobs", "watch", job.id, *(["-o", download.target.text] if download is not None else [])]
    hints = watching(session, "job", watch, ("or cancel it with", ["jobs", "cancel", job.id]))
    with hints, Follower(download) if download else nullcontext() as follower:
        if session.err.is_terminal:
            session.err.print(job.id, style="dim", soft_wrap=True)

        def note() -> str:
            if follower is not None and follower.error is not None:
                return "writing stopped"
            return f"{len(download.files):,} written" if download is not None and download.files else ""

        running = partial(client.items, job.id, status=ItemStatus.RUNNING)
        with job_bar(session.err, running, note) as show:
            is_paused = False

            def look(job: Job) -> None:
                nonlocal is_paused
                show(job)
                if job.status is JobStatus.PAUSED and not is_paused:
                    # It has not ended, and ends only if somebody continues it.
                    session.hint("The job is paused. Continue it with", "jobs", "resume", job.id)
                is_paused = job.status is JobStatus.PAUSED

            return client.wait(job.id, on_poll=look)


@contextmanager
def watching(session: Session, thing: str, watch: Sequence[str], *others: tuple[str, Sequence[str]]) -> Iterator[None]:
    """If Ctrl-C or an outage ends the watching of a job or a training, print how to go on.

    `watch` is the command that watches it again, `others` are more commands with a few words before each.
    """
    try:
        yield
    except KeyboardInterrupt:
        session.err.print("")
        session.hint(f"The {thing} continues. Watch it with", *watch)
        for text, command in others:
            session.hint(text, *command)
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except NstError as error:
        if error.retryable:
            session.hint(f"The {thing} is not lost. When the API answers again, watch it with", *watch)
        raise


def fetch_rest(session: Session, job: Job, download: Download) -> None:
    """Write the results that are not there yet, with a progress bar; if that stops, print how to continue."""
    try:
        done = len(download.files)
        with transfer_bar(session.err, "writing", job.counts.succeeded, done=done) as advance:
            download.on_done = lambda count: advance()
            download.fetch_all()
    except (OSError, NstError, KeyboardInterrupt):
        session.note(f"\n{len(download.files):,} of {job.counts.succeeded:,} images are written.")
        session.hint("Fetch the rest with", "jobs", "results", job.id, "-o", download.target.text)
        raise
    if any(left.code != OUTPUT_IS_INPUT for left in download.failed.values()):
        session.hint("Retry the rest with", "jobs", "results", job.id, "-o", download.target.text)


def job_json(client: Client, job: Job, inputs: Inputs, download: Download | None) -> dict[str, Any]:
    """Return a finished job with its images, their photos and result files on this machine, and what is missing."""

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
    """Print how a job ended, and its first failures."""
    session.note(job_summary(job, place))
    if job.counts.failed:
        failures = client.items(job.id, status=ItemStatus.FAILED, page=10)
        session.err.print(failures_list(job, failures, paths), soft_wrap=True)


def _left_json(left: Left) -> dict[str, str]:
    return {"file": str(left.path), "code": left.code, "message": left.message}
