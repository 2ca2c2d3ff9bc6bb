"""`nst stylize`: photos in, stylized photos out, in one command."""

from pathlib import Path
from typing import Annotated

import typer

from scheduler.cli.exits import ExitCode, code_for_job
from scheduler.cli.inputs import S3, Format, upload_or_name
from scheduler.cli.jobs import AsJson, download, follow, job_json, report
from scheduler.cli.options import parse_style
from scheduler.cli.session import print_json, session_of
from scheduler.resources import JobRequest, Output


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
        list[str],
        typer.Option("--style", "-s", help="NAME or NAME@VERSION; may be given several times.", show_default=False),
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
    to_storage = output.startswith(S3)
    with session.client() as client:
        for name, version in map(parse_style, style):
            client.style(name, version=version)  # a wrong name is told before the upload, not after it
        source = upload_or_name(session, client, inputs, format)
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
            print_json(job_json(client, job, files))
    return code_for_job(job.status)
