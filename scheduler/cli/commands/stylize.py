"""`nst stylize`: photos in, stylized photos out, in one command."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated

import typer

from scheduler.cli.commands.jobs import (
    AmongJobs,
    AsJson,
    ExpiresAfter,
    Labels,
    MaxAttempts,
    MaxFailures,
    OwnId,
    ResultName,
)
from scheduler.cli.dry_run import check_job
from scheduler.cli.exits import ExitCode
from scheduler.cli.following import see_through, submitted
from scheduler.cli.options import check_template, parse_labels, parse_span, parse_styles
from scheduler.cli.session import Session, print_json, session_of
from scheduler.cli.style_names import check_styles
from scheduler.cli.transfer.inputs import Format, upload_or_name
from scheduler.cli.transfer.results import Naming, check_writable, format_of, parse_target
from scheduler.cli.ui import jobs as render
from scheduler.domain.jobs import DEFAULT_NAME, JobInput, Priority
from scheduler.resources import Check, JobRequest, Output


def stylize(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Photos, folders of photos, s3:// objects, one s3:// prefix, or one s3:// manifest (.jsonl).",
            show_default=False,
        ),
    ],
    style: Annotated[
        list[str],
        typer.Option(
            "--style", "-s", help="NAME or NAME@VERSION; several with commas, or -s again.", show_default=False
        ),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="A folder, an s3:// prefix, or for one image a file.", show_default=False),
    ],
    strength: Annotated[float, typer.Option(min=0.0, max=1.0, help="0 gives the photo back, 1 the full style.")] = 1.0,
    preserve_color: Annotated[bool, typer.Option("--preserve-color", help="Keep the photos' own colours.")] = False,
    format: Annotated[Format, typer.Option(help="File format of the results.")] = Format.KEEP,
    quality: Annotated[int, typer.Option(min=1, max=100, help="JPEG and WebP quality.")] = 92,
    max_px: Annotated[
        int | None, typer.Option(min=16, help="Longest side of the results, in pixels.", show_default=False)
    ] = None,
    label: Labels = [],  # noqa: B006  Typer takes no tuple
    own_id: OwnId = None,
    priority: AmongJobs = Priority.NORMAL,
    expires_after: ExpiresAfter = None,
    deadline: Annotated[
        datetime | None,
        typer.Option(help="Cancel what is not begun at this time, of this machine's zone.", show_default=False),
    ] = None,
    max_failures: MaxFailures = None,
    max_attempts: MaxAttempts = None,
    name: ResultName = DEFAULT_NAME,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what the job would do; nothing is uploaded.")
    ] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Stylize photos and write the results.

    Every photo is combined with every style. Sub-folders are kept; files of the same name are replaced.
    """
    session = session_of(context)
    styles = parse_styles(style)
    target = parse_target(output, inputs, images=len(styles))
    format = Format(format_of(target, format))
    check_template(name)
    naming = Naming(format=format, template=name, styles=tuple(style for style, _ in styles), target=target)
    request = JobRequest(
        input=JobInput(),  # known after the upload
        styles=tuple(f"{style}@{version}" if version else style for style, version in styles),
        strength=strength,
        preserve_color=preserve_color,
        output=Output(prefix=target.prefix, format=format, quality=quality, name=name, max_px=max_px),
        metadata=parse_labels(label),
        priority=priority,
        expires_after_s=None if expires_after is None else parse_span(expires_after),
        deadline=None if deadline is None else deadline.astimezone().isoformat(),
        max_failures=max_failures,
        max_attempts=max_attempts,
    )
    # What is wrong is told before the upload, not after it.
    check_writable(target)
    with session.client() as client:
        check_styles(client, styles)
        if dry_run:
            return _tell(session, check_job(session, client, request, inputs, naming), as_json=as_json)
        found = upload_or_name(session, client, inputs, naming, own_id=own_id)
        job = submitted(client, replace(request, input=found.input), own_id)
        return see_through(session, client, job, target, found, as_json=as_json)


def _tell(session: Session, check: Check, *, as_json: bool) -> ExitCode:
    """Say what a job would do."""
    if as_json:
        print_json(check)
    else:
        session.out.print(render.check_page(check))
    return ExitCode.OK if check.valid else ExitCode.FAILED
