"""`nst optimize`: photos in the look of any painting, each optimised for minutes; and `nst presets`."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nst_core.protocol import ItemStatus, Method
from scheduler.cli import render
from scheduler.cli.exits import ExitCode, UsageError, code_for_job
from scheduler.cli.inputs import S3, Format, find_job, upload_or_name, upload_or_name_one
from scheduler.cli.jobs import (
    AmongJobs,
    AsJson,
    ExpiresAfter,
    Labels,
    MaxAttempts,
    MaxFailures,
    OwnId,
    ResultName,
    download,
    follow,
    job_json,
    report,
    submitted,
)
from scheduler.cli.options import given, parse_fields, parse_labels, parse_span
from scheduler.cli.session import Session, print_json, session_of
from scheduler.cli.transfer import write_whole
from scheduler.client import Client
from scheduler.domain import DEFAULT_NAME, DEFAULT_PRESET, DEFAULT_PREVIEW_EVERY, IMAGE_SUFFIXES, Priority
from scheduler.resources import Job, JobRequest, Optimize, Output

_FORMATS = {".jpg": Format.JPEG, ".jpeg": Format.JPEG, ".png": Format.PNG, ".webp": Format.WEBP}


class Color(StrEnum):
    """Where the colours of the results come from."""

    STYLE = "style"  # the painting
    LUMINANCE = "luminance"  # the photo; only light and dark come from the painting
    LINEAR = "linear"  # the photo; the painting is recoloured to them first


@dataclass(frozen=True, kw_only=True)
class _Target:
    """Where the results go, as -o says it."""

    #: As it was given.
    text: str
    #: A file for the one result.
    file: Path | None = None
    #: An s3:// prefix.
    prefix: str | None = None


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
    """Optimise photos to look like a painting, and write the results.

    Takes minutes an image, and any painting, where stylize takes a second and needs a network for each style. An
    interrupted image goes on where it was.
    """
    session = session_of(context)
    photos, painting = _split(inputs, style)
    target = _target(output, photos)
    chosen = given(size_px=size_px, iterations=iterations, color=color) | parse_fields(options or ())
    with session.client() as client:
        if preset not in (names := [each.name for each in client.presets()]):
            raise UsageError(f"There is no preset {preset}; known are {', '.join(names)}.")
        if target.file is not None:
            format = _FORMATS[target.file.suffix.lower()]
        earlier = find_job(client, own_id)
        known = earlier.paintings[0] if earlier is not None and earlier.paintings else None
        request = JobRequest(
            method=Method.OPTIMIZE,
            paintings=(upload_or_name_one(session, client, painting, earlier=known),),
            input=upload_or_name(session, client, photos, format, earlier=earlier),
            optimize=Optimize(preset=preset, options=chosen, preview_every=preview_every),
            output=Output(prefix=target.prefix, format=format, quality=quality, name=name),
            metadata=parse_labels(label),
            priority=priority,
            expires_after_s=None if expires_after is None else parse_span(expires_after),
            max_failures=max_failures,
            max_attempts=max_attempts,
        )
        job = follow(session, client, submitted(client, request, own_id))
        files = _fetch(session, client, job, target)
        report(session, client, job, output)
        if as_json:
            print_json(job_json(client, job, files))
    return code_for_job(job.status)


def presets(context: typer.Context, as_json: AsJson = False) -> None:
    """List the presets of optimize."""
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


def _target(output: str, photos: Sequence[str]) -> _Target:
    if output.startswith(S3):
        return _Target(text=output, prefix=output)
    path = Path(output)
    if path.suffix.lower() not in IMAGE_SUFFIXES or path.is_dir():
        return _Target(text=output)
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"{path} cannot be written; results can be {', '.join(_FORMATS)}.")
    if len(photos) != 1 or Path(photos[0]).suffix.lower() not in IMAGE_SUFFIXES or Path(photos[0]).is_dir():
        raise UsageError(f"{path} is one file: give one photo, or a folder for the results.")
    return _Target(text=output, file=path)


def _fetch(session: Session, client: Client, job: Job, target: _Target) -> dict[int, Path]:
    """Write the results where they shall be, and return the files of this machine by item id."""
    if target.prefix is not None:
        return {}
    if target.file is None:
        return download(session, client, job, Path(target.text))
    files = {}
    for item in client.items(job.id, status=ItemStatus.SUCCEEDED):
        write_whole(target.file, client.output(job.id, item.id))
        files[item.id] = target.file
    return files
