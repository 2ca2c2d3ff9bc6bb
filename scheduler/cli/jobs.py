"""`nst jobs`: list, show, watch and cancel jobs, and fetch what they made."""

import sys
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from nst_core.protocol import ItemStatus, Method
from scheduler.cli import render
from scheduler.cli.exits import ExitCode, code_for_job
from scheduler.cli.iterations import iteration_bars
from scheduler.cli.progress import job_bar, transfer_bar
from scheduler.cli.session import Session, print_json, session_of
from scheduler.cli.transfer import download_results
from scheduler.client import Client
from scheduler.resources import Job

app = typer.Typer(no_args_is_help=True, help="List, show, watch and cancel jobs; fetch results.")

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id: job_…", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on the standard output, all else on the standard error.")]


@app.command("list")
def list_jobs(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show at most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    session = session_of(context)
    with session.client() as client:
        jobs = list(islice(client.jobs(page=min(limit, 200)), limit))
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
def watch(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> ExitCode:
    """Follow a job to its end; the exit code says how it ended."""
    session = session_of(context)
    with session.client() as client:
        job = follow(session, client, client.job(job_id))
        if as_json:
            print_json(job)
        else:
            report(session, client, job, job.output.prefix or "")
    return code_for_job(job.status)


@app.command()
def cancel(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a job; images in hand are finished, and finished images are kept."""
    session = session_of(context)
    with session.client() as client:
        job = client.cancel(job_id)
    if as_json:
        print_json(job)
    else:
        session.out.print(render.status_text(job.status), f"[dim]{job.id}[/]")


@app.command()
def results(
    context: typer.Context,
    job_id: JobId,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the images into this folder.", file_okay=False, show_default=False),
    ] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Print what failed instead, as JSON lines.")] = False,
) -> None:
    """Write a job's images into a folder, or print its results as JSON lines."""
    session = session_of(context)
    with session.client() as client:
        if output is not None:
            files = download(session, client, client.job(job_id), output)
            session.err.print(f"{len(files):,} images → {output}", soft_wrap=True)
        else:
            sys.stdout.buffer.write(client.errors(job_id) if errors else client.results(job_id))


def follow(session: Session, client: Client, job: Job) -> Job:
    """Show a job's progress until it is finished, and return it; Ctrl-C leaves the job running."""
    try:
        if job.method is Method.OPTIMIZE:
            with iteration_bars(session.err) as show:
                running = partial(client.items, job.id, status=ItemStatus.RUNNING)
                return client.wait(job.id, on_poll=lambda job: show(job, list(running())))
        with job_bar(session.err) as update:
            return client.wait(job.id, on_change=update)
    except KeyboardInterrupt:
        session.err.print(f"\nThe job goes on. Watch it with [bold]nst jobs watch {job.id}[/]", soft_wrap=True)
        session.err.print(f"or stop it with [bold]nst jobs cancel {job.id}[/]", soft_wrap=True)
        raise typer.Exit(ExitCode.INTERRUPTED) from None


def download(session: Session, client: Client, job: Job, folder: Path) -> dict[int, Path]:
    """Write a job's results into a folder with a progress bar; return the files by item id."""
    folder.mkdir(parents=True, exist_ok=True)
    with transfer_bar(session.err, "downloading", job.counts.succeeded) as advance:
        return download_results(client, job, folder, on_done=lambda path: advance())


def job_json(client: Client, job: Job, files: dict[int, Path]) -> dict[str, Any]:
    """Return a finished job with its images, and the files of this machine that they were written to."""
    images = [
        {
            "input": item.input,
            "style": item.style,
            "status": item.status,
            "output": item.output,
            "file": str(files[item.id]) if item.id in files else None,
            "error": item.error,
        }
        for item in client.items(job.id)
    ]
    return {"job": job, "images": images}


def report(session: Session, client: Client, job: Job, place: str) -> None:
    """Say how a job ended, and the first of what failed."""
    session.err.print(render.job_summary(job, place), soft_wrap=True)
    if job.counts.failed:
        failures = client.items(job.id, status=ItemStatus.FAILED, page=10)
        session.err.print(render.failures_list(job, failures), soft_wrap=True)
