"""`nst optimize`: photos in the look of any painting, each optimised for minutes; and `nst presets`."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated

import typer

from nst_core.protocol.chunks import Method
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
from scheduler.cli.exits import ExitCode, UsageError
from scheduler.cli.following import see_through, submitted
from scheduler.cli.options import check_template, given, parse_fields, parse_labels, parse_span
from scheduler.cli.session import print_json, session_of
from scheduler.cli.transfer.inputs import Format, find_one, upload_one, upload_or_name
from scheduler.cli.transfer.results import Naming, check_writable, format_of, parse_target
from scheduler.cli.ui import jobs as render
from scheduler.domain.jobs import DEFAULT_NAME, DEFAULT_PRESET, DEFAULT_PREVIEW_EVERY, Priority
from scheduler.resources import JobRequest, Optimize, Output


class Color(StrEnum):
    """Where the colours of the results come from."""

    STYLE = "style"  # the painting
    LUMINANCE = "luminance"  # the photo; only light and dark come from the painting
    LINEAR = "linear"  # the photo; the painting is recoloured to them first


def optimize(
    context: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="CONTENT... STYLE",
            help="Photos, folders of photos, s3:// objects or one s3:// prefix; last the painting.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option("--output", "-o", help="A folder, an s3:// prefix, or for one photo a file.", show_default=False),
    ],
    style: Annotated[
        str | None, typer.Option("--style", "-s", help="The painting; all arguments are photos then.")
    ] = None,
    preset: Annotated[str, typer.Option("--preset", "-p", help="See nst presets.")] = DEFAULT_PRESET,
    size_px: Annotated[
        int | None, typer.Option("--size", min=16, help="Longest side of the results, in pixels.")
    ] = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Iterations at the last scale.")] = None,
    color: Annotated[Color | None, typer.Option(help="Where the colours come from.")] = None,
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Another field of the preset's config.")
    ] = None,
    preview_every: Annotated[
        int, typer.Option(min=0, help="Store a preview each time after so many iterations; 0: none.")
    ] = DEFAULT_PREVIEW_EVERY,
    format: Annotated[Format, typer.Option(help="File format of the results.")] = Format.KEEP,
    quality: Annotated[int, typer.Option(min=1, max=100, help="JPEG and WebP quality.")] = 92,
    label: Labels = [],  # noqa: B006  Typer takes no tuple
    expires_after: ExpiresAfter = None,
    max_failures: MaxFailures = None,
    max_attempts: MaxAttempts = None,
    name: ResultName = DEFAULT_NAME,
    own_id: OwnId = None,
    priority: AmongJobs = Priority.NORMAL,
    as_json: AsJson = False,
) -> ExitCode:
    """Make photos look like any painting, slowly, and write the results.

    Takes minutes an image, and any painting, where stylize takes a second and needs a network for each style. An
    interrupted image goes on where it was.
    """
    session = session_of(context)
    photos, painting = _split(inputs, style)
    target = parse_target(output, photos)
    format = Format(format_of(target, format))
    check_template(name)
    chosen = given(size_px=size_px, iterations=iterations, color=color) | parse_fields(options or ())
    naming = Naming(format=format, template=name, styles=(PurePosixPath(painting).stem,), target=target)
    # What is wrong is told before the upload, not after it.
    check_writable(target)
    with session.client() as client:
        if preset not in (names := [each.name for each in client.presets()]):
            raise UsageError(f"There is no preset {preset}; known are {', '.join(names)}.")
        picture = find_one(session, client, painting)
        found = upload_or_name(session, client, photos, naming, own_id=own_id, others=[picture] if picture else ())
        request = JobRequest(
            method=Method.OPTIMIZE,
            paintings=(upload_one(session, client, painting, picture),),
            input=found.input,
            optimize=Optimize(preset=preset, options=chosen, preview_every=preview_every),
            output=Output(prefix=target.prefix, format=format, quality=quality, name=name),
            metadata=parse_labels(label),
            priority=priority,
            expires_after_s=None if expires_after is None else parse_span(expires_after),
            max_failures=max_failures,
            max_attempts=max_attempts,
        )
        job = submitted(client, request, own_id)
        return see_through(session, client, job, target, found, as_json=as_json)


def presets(context: typer.Context, as_json: AsJson = False) -> None:
    """List the presets of nst optimize."""
    session = session_of(context)
    with session.client() as client:
        found = client.presets()
    if as_json:
        print_json(found)
    else:
        session.out.print(render.presets_table(found))


def _split(inputs: Sequence[str], style: str | None) -> tuple[list[str], str]:
    """Return the photos and the painting."""
    if style is not None:
        return list(inputs), style
    if len(inputs) < 2:
        raise UsageError("Name at least one photo, and the painting last (or with --style).")
    return list(inputs[:-1]), inputs[-1]
