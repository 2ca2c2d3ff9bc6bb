"""`nst stylize`: photos in, stylized photos out, in one command."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from scheduler.cli.exits import ExitCode, UsageError, code_for_job
from scheduler.cli.jobs import AsJson, download, follow, report
from scheduler.cli.progress import transfer_bar
from scheduler.cli.session import Session, print_json, session_of
from scheduler.cli.transfer import find_photos, upload_photos
from scheduler.client import Client
from scheduler.domain import IMAGE_SUFFIXES, JobInput
from scheduler.resources import Job, JobRequest, Output

_S3 = "s3://"


class Format(StrEnum):
    """File formats of results."""

    KEEP = "keep"  # JPEG, PNG and WebP stay what they are, the rest becomes PNG
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"


def stylize(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Photos, folders of photos, s3:// objects, or one s3:// prefix.",
            show_default=False,
        ),
    ],
    style: Annotated[
        list[str], typer.Option("--style", "-s", help="A style; may be given several times.", show_default=False)
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="The folder for the results, or an s3:// prefix.", show_default=False)
    ],
    strength: Annotated[float, typer.Option(min=0.0, max=1.0, help="0 gives the photo back, 1 the full style.")] = 1.0,
    preserve_color: Annotated[bool, typer.Option("--preserve-color", help="Keep the photos' own colours.")] = False,
    format: Annotated[Format, typer.Option(help="File format of the results.")] = Format.KEEP,
    quality: Annotated[int, typer.Option(min=1, max=100, help="JPEG and WebP quality.")] = 92,
    max_px: Annotated[
        int | None, typer.Option(min=16, help="Longest side of the results, in pixels.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Stylize photos and write the results.

    Every photo is combined with every style. Sub-folders are kept; files of the same name are replaced.
    """
    session = session_of(context)
    to_storage = output.startswith(_S3)
    with session.client() as client:
        for name in style:
            client.style(name)  # a wrong name is told before the upload, not after it
        source = _upload_or_name(session, client, inputs, format)
        request = JobRequest(
            input=source,
            styles=tuple(style),
            strength=strength,
            preserve_color=preserve_color,
            output=Output(prefix=output if to_storage else None, format=format, quality=quality, max_px=max_px),
        )
        job = follow(session, client, client.submit(request))
        files = {} if to_storage else download(session, client, job, Path(output))
        report(session, client, job, output)
        if as_json:
            print_json(_as_json(client, job, files))
    return code_for_job(job.status)


def _upload_or_name(session: Session, client: Client, inputs: Sequence[str], format: Format) -> JobInput:
    """Return the job's input; photos of this machine are in the storage after it."""
    remote = [text for text in inputs if text.startswith(_S3)]
    if remote and len(remote) < len(inputs):
        raise UsageError("Photos of this machine and s3:// addresses cannot be in one job.")
    if remote:
        return _remote_input(remote)
    photos = find_photos([Path(text) for text in inputs], format=format)
    try:
        with transfer_bar(session.err, "uploading", len(photos)) as advance:
            upload = upload_photos(client, photos, on_done=advance)
    except KeyboardInterrupt:
        session.err.print("\nStopped during the upload; no job was submitted.")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    return JobInput(prefix=upload.prefix)


def _remote_input(addresses: Sequence[str]) -> JobInput:
    prefixes = [text for text in addresses if Path(text).suffix.lower() not in IMAGE_SUFFIXES]
    if not prefixes:
        return JobInput(uris=tuple(addresses))
    if len(addresses) > 1:
        raise UsageError("A job takes one s3:// prefix, or any number of objects, and not both.")
    return JobInput(prefix=prefixes[0] if prefixes[0].endswith("/") else prefixes[0] + "/")


def _as_json(client: Client, job: Job, files: dict[int, Path]) -> dict[str, Any]:
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
