"""`nst optimize`: make photos look like any painting, in minutes per image; and `nst presets`."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

from nst_core.client.resources.jobs import DEFAULT_NAME, JobInput, JobRequest, Output, Priority
from nst_core.client.resources.methods import DEFAULT_PRESET, DEFAULT_PREVIEW_EVERY, Optimize
from scheduler.cli.commands.parameters import (
    AmongJobs,
    AsJson,
    Deadline,
    DryRun,
    ExpiresAfter,
    Fields,
    Labels,
    MaxAttempts,
    MaxFailures,
    OwnId,
    Quality,
    ResultName,
)
from scheduler.cli.exits import ExitCode, UsageError
from scheduler.cli.options import check_template, given, job_terms, parse_fields
from scheduler.cli.session import session_of
from scheduler.cli.submitting import run_job
from scheduler.cli.transfer.inputs import Format
from scheduler.cli.transfer.results import Naming, check_writable, format_of, parse_target
from scheduler.cli.ui.jobs import presets_table


class Color(StrEnum):
    """Where the colours of the results come from."""

    STYLE = "style"  # from the painting
    LUMINANCE = "luminance"  # from the photo; only the brightness comes from the painting
    LINEAR = "linear"  # from the photo; the painting is recoloured to match it first


_Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="PHOTO... PAINTING",
        help="Photos, folders of photos, s3:// objects, one s3:// prefix or manifest, and last the painting.",
    ),
]
_Output = Annotated[str, typer.Option("--output", "-o", help="Folder, s3:// prefix, or for one photo a file.")]
_Style = Annotated[str | None, typer.Option("--style", "-s", help="The painting, if it is not the last argument.")]
_Preset = Annotated[str, typer.Option("--preset", "-p", help="See nst presets.")]
_Size = Annotated[int | None, typer.Option("--size", min=16, help="Longest side of the results, in pixels.")]
_Iterations = Annotated[int | None, typer.Option(min=1, help="Number of iterations at the last scale.")]
_Color = Annotated[
    Color | None,
    typer.Option(
        help="Colours of the results. style: the painting's; luminance: the photo's own; linear: the painting is "
        "recoloured like the photo first."
    ),
]
_PreviewEvery = Annotated[int, typer.Option(min=0, help="Number of iterations between two previews; 0: no previews.")]
_Format = Annotated[Format, typer.Option(help="File format of the results.")]


def optimize(
    context: typer.Context,
    inputs: _Inputs,
    output: _Output,
    style: _Style = None,
    preset: _Preset = DEFAULT_PRESET,
    size_px: _Size = None,
    iterations: _Iterations = None,
    color: _Color = None,
    options: Fields = None,
    preview_every: _PreviewEvery = DEFAULT_PREVIEW_EVERY,
    format: _Format = Format.KEEP,
    quality: Quality = 92,
    label: Labels = [],  # noqa: B006  Typer takes no tuple
    expires_after: ExpiresAfter = None,
    deadline: Deadline = None,
    max_failures: MaxFailures = None,
    max_attempts: MaxAttempts = None,
    name: ResultName = DEFAULT_NAME,
    own_id: OwnId = None,
    priority: AmongJobs = Priority.NORMAL,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Make photos look like any painting, slowly, and write the results.

    Takes minutes per image and works with any painting. `nst stylize` takes about a second, but needs a trained
    style. If a worker fails, another one continues the image.
    """
    session = session_of(context)
    photos, painting = _split(inputs, style)
    target = parse_target(output, photos)
    format = Format(format_of(target, format))
    check_template(name)
    chosen = given(size_px=size_px, iterations=iterations, color=color) | parse_fields(options or ())
    naming = Naming(format=format, template=name, target=target)  # its style is named after the uploaded painting
    terms = job_terms(label, expires_after, deadline, priority=priority, failures=max_failures, attempts=max_attempts)

    def request(input: JobInput, paintings: Sequence[str]) -> JobRequest:
        return JobRequest(
            method="optimize",
            paintings=tuple(paintings),
            input=input,
            optimize=Optimize(preset=preset, options=chosen, preview_every=preview_every),
            output=Output(prefix=target.prefix, format=format, quality=quality, name=name),
            **terms,
        )

    check_writable(target)
    with session.client() as client:
        if preset not in (names := [each.name for each in client.presets()]):
            raise UsageError(f"There is no preset {preset}; known are {', '.join(names)}.")
        pictures = [painting]
        return run_job(
            session, client, request, photos, naming, pictures=pictures, own_id=own_id, dry_run=dry_run, as_json=as_json
        )


def presets(context: typer.Context, as_json: AsJson = False) -> None:
    """List the presets of nst optimize."""
    session_of(context).show_answer(lambda client: client.presets(), presets_table, as_json=as_json)


def _split(inputs: Sequence[str], style: str | None) -> tuple[list[str], str]:
    """Return the photos and the painting."""
    if style is not None:
        return list(inputs), style
    if len(inputs) < 2:
        raise UsageError("Give at least one photo, and the painting last (or with --style).")
    return list(inputs[:-1]), inputs[-1]
