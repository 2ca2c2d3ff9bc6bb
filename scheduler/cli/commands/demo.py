"""`nst demo`: every style on sample photos, in one job."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from nst_core.client import Client
from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import Job, JobInput, JobRequest
from nst_core.client.resources.styles import Style
from nst_core.errors import NstError
from scheduler.cli.commands.local import ServiceLines, terminable
from scheduler.cli.exits import ExitCode, code_for_status
from scheduler.cli.following import fetch_rest, report
from scheduler.cli.session import Session, session_of
from scheduler.cli.transfer.downloads import Download
from scheduler.cli.transfer.photos import find_photos
from scheduler.cli.transfer.results import Naming, Target
from scheduler.cli.transfer.uploads import read_photos, send_photos
from scheduler.cli.ui.progress import job_bar
from scheduler.cli.ui.tables import page
from scheduler.cli.ui.times import duration_s
from scheduler.cli.ui.words import status_text
from scheduler.local.demo import contact_sheet, write_sample_photos
from scheduler.local.embedded import Stack

SHEET_NAME = "contact_sheet.jpg"


def demo(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.", file_okay=False)] = Path(
        "demo-output"
    ),
    home: Annotated[
        Path,
        typer.Option(
            help="Folder for the data of the demo, the sample photos among them. NST_HOME is not used.", file_okay=False
        ),
    ] = Path(".nst/demo"),
) -> ExitCode:
    """Stylize sample photos with every style.

    Starts all of nst, submits one job through the API, writes a contact sheet of the results, and stops everything.
    """
    session = session_of(context)
    console, started = session.err, time.monotonic()
    try:
        with terminable():
            console.print("[bold]Starting[/] Redis, object storage, the scheduler and a worker")
            photos = write_sample_photos(home / "photos")
            with Stack(home, on_event=ServiceLines(console)) as stack, stack.client() as client:
                styles = client.styles()
                if not styles:
                    console.print("[red]nst was installed without its styles.[/]")
                    return ExitCode.FAILED
                job, pictures = _stylize(session, client, photos, styles, output)
            _make_sheet(output / SHEET_NAME, photos, styles, pictures)
    except KeyboardInterrupt:
        console.print("Stopped. No process is left running.")
        return ExitCode.INTERRUPTED
    console.print(_summary(job, styles, output, time.monotonic() - started))
    return code_for_status(job.status)


def _stylize(
    session: Session, client: Client, photos: Sequence[Path], styles: Sequence[Style], output: Path
) -> tuple[Job, dict[tuple[str, str], Path]]:
    """Run the job, and return it with its files by the photo's file name and the style."""
    _cancel_leftovers(client)
    names = ", ".join(style.name for style in styles)
    session.err.print(f"[bold]Stylizing[/] {len(photos)} photos × {len(styles)} styles ({names})")
    found = find_photos(photos, Naming(styles=tuple(style.name for style in styles)))
    read, _ = read_photos(session, found.photos)
    prefix = send_photos(session, client, read).upload.prefix
    chosen = tuple(style.name for style in styles)
    job = client.submit(JobRequest(input=JobInput(prefix=prefix), styles=chosen, look="gallery"))
    with job_bar(session.err) as update:
        job = client.wait(job.id, on_change=update, poll_s=0.2)
    download = Download(client=client, job=job, target=Target(text=str(output), folder=output))
    fetch_rest(session, job, download)
    files = download.files
    if job.counts.failed or not files:
        report(session, client, job, str(output))
    items = client.items(job.id, status=ItemStatus.SUCCEEDED)
    return job, {(item.input.rpartition("/")[2], item.style): files[item.id] for item in items if item.id in files}


def _cancel_leftovers(client: Client) -> None:
    """Cancel the job of an interrupted demo, which would slow this one down."""
    for job in client.jobs():
        if not job.status.is_terminal:
            with suppress(NstError):
                client.cancel(job.id)


def _make_sheet(
    path: Path, photos: Sequence[Path], styles: Sequence[Style], pictures: dict[tuple[str, str], Path]
) -> None:
    rows = [[photo, *(pictures.get((photo.name, style.name)) for style in styles)] for photo in photos]
    headings = ["photo", *(str(style.card.get("title") or style.name) for style in styles)]
    contact_sheet(headings, rows).save(path, quality=90)


def _summary(job: Job, styles: Sequence[Style], output: Path, total_s: float) -> Table:
    job_s = duration_s(job) or 0.0
    rate = f"  ({job.counts.succeeded / job_s:.2f} images/s)" if job_s else ""
    return page(
        [
            ("job", Text.assemble(job.id, " ", status_text(job.status))),
            ("images", f"{job.counts.succeeded} of {job.counts.total}"),
            ("styles", ", ".join(style.name for style in styles)),
            ("job time", f"{job_s:.1f} s{rate}"),
            ("total time", f"{total_s:.1f} s"),
            ("results", str(output)),
            ("contact sheet", Text(str(output / SHEET_NAME), style="bold")),
        ]
    )
