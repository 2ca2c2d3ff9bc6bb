"""`nst stylize`: upload photos, stylize them and download the results, in one command."""

import difflib
from collections.abc import Sequence
from typing import Annotated

import typer

from nst_core.blends import result_name, styles_of
from nst_core.client import ApiError, Client
from nst_core.client.resources.jobs import (
    DEFAULT_NAME,
    Faces,
    Forms,
    JobInput,
    JobRequest,
    LookName,
    Output,
    Precision,
    Priority,
    Region,
)
from scheduler.cli.commands.parameters import (
    AmongJobs,
    AsJson,
    Deadline,
    DryRun,
    ExpiresAfter,
    Labels,
    MaxAttempts,
    MaxFailures,
    OwnId,
    Quality,
    ResultName,
)
from scheduler.cli.exits import ExitCode
from scheduler.cli.options import (
    check_template,
    job_terms,
    parse_regions,
    parse_stroke,
    parse_style,
    parse_styles,
    parse_upscale,
)
from scheduler.cli.session import session_of
from scheduler.cli.submitting import run_job
from scheduler.cli.transfer.inputs import Format
from scheduler.cli.transfer.results import Naming, check_writable, format_of, parse_target

#: Names of styles that an error lists.
_SHOWN = 12

_Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Photos, folders of photos, s3:// objects, one s3:// prefix, or one s3:// manifest (.jsonl, .ndjson, "
        ".json, .csv, .tsv or .txt; also with .gz).",
    ),
]
_Styles = Annotated[
    list[str],
    typer.Option(
        "--style",
        "-s",
        help="NAME or NAME@VERSION. Separate several with commas, or repeat the option. A blend of 2 to 4 styles "
        "is NAME:SHARE,NAME:SHARE, such as great_wave:0.6,udnie:0.4.",
    ),
]
_Output = Annotated[str, typer.Option("--output", "-o", help="Folder, s3:// prefix, or for one image a file.")]
_Strength = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        help="0 is the photo, 1 the full style. Below 1, styles that come with nst, and styles of a family, get weaker "
        "strokes; others are mixed with the photo.",
    ),
]
_PreserveColor = Annotated[bool, typer.Option("--preserve-color", help="Keep the colours of the photos.")]
_Mask = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="A picture that says where photos are painted: white is painted, black stays the photo. It is "
        "stretched to each photo.",
    ),
]
_Regions = Annotated[
    list[str],
    typer.Option(
        "--region",
        metavar="STYLE=MASK",
        help="Paint the white area of the image MASK in STYLE (a style or a blend). Up to 8 times; where areas "
        "overlap, later ones lie over earlier ones. The rest is painted in --style. Without =MASK the lines of a "
        "manifest name the masks.",
    ),
]
_Faces = Annotated[
    Faces | None,
    typer.Option(
        help="protect: faces are drawn as in the photo, in the colours of the picture. fine: large faces are painted, "
        "in finer strokes than the rest, and small ones are drawn. paint: faces are painted as everything else."
    ),
]
_Precision = Annotated[
    Precision, typer.Option(help="exact: the same bytes on every machine with the same kind of processor; slower.")
]
_Look = Annotated[
    LookName | None,
    typer.Option(
        help="gallery: each style is painted as the gallery shows it, with the strokes, forms and faces that suit it.",
    ),
]
_Stroke = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Size of the strokes: 0.5 to 4 times that at the photo's own size, auto, fine or varied. With auto the "
        "same photo looks alike at any size, and large photos are fast. fine does this only for photos of more than a "
        "megapixel. With varied, broad strokes are painted first and finer ones over them, so that pictures have large "
        "forms.",
    ),
]
_Forms = Annotated[
    Forms | None,
    typer.Option(
        help="planes: Fill flat areas such as skies and walls with facets of light and shade, along lines that extend "
        "the photo's edges. For styles with facets, such as udnie. none: With --stroke varied, add no clouds to them.",
    ),
]
_Upscale = Annotated[
    int,
    typer.Option(
        metavar="1|2|4",
        help="Enlarge the results: 2 or 4 times the width and height. Photos are painted in their own size, or with "
        "--max-px in that size.",
    ),
]
_Format = Annotated[Format, typer.Option(help="File format of the results.")]
_MaxPx = Annotated[int | None, typer.Option(min=16, help="Longest side of the results, in pixels.")]


def stylize(
    context: typer.Context,
    inputs: _Inputs,
    style: _Styles,
    output: _Output,
    strength: _Strength = 1.0,
    preserve_color: _PreserveColor = False,
    mask: _Mask = None,
    region: _Regions = [],  # noqa: B006  Typer takes no tuple
    faces: _Faces = None,
    precision: _Precision = "auto",
    look: _Look = None,
    stroke: _Stroke = None,
    forms: _Forms = None,
    upscale: _Upscale = 1,
    format: _Format = Format.KEEP,
    quality: Quality = 92,
    max_px: _MaxPx = None,
    label: Labels = [],  # noqa: B006  Typer takes no tuple
    own_id: OwnId = None,
    priority: AmongJobs = Priority.NORMAL,
    expires_after: ExpiresAfter = None,
    deadline: Deadline = None,
    max_failures: MaxFailures = None,
    max_attempts: MaxAttempts = None,
    name: ResultName = DEFAULT_NAME,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Stylize photos and write the results.

    Every photo is combined with every style. Sub-folders are kept. Existing files of the same name are replaced.
    """
    session = session_of(context)
    styles = parse_styles(style)
    target = parse_target(output, inputs, images=len(styles))
    format = Format(format_of(target, format))
    regions = parse_regions(region)
    masks = [each for each in (mask, *(own for _, own in regions)) if each is not None]
    check_template(name)
    size = None if stroke is None else parse_stroke(stroke)
    factor = parse_upscale(upscale)
    naming = Naming(format=format, template=name, styles=tuple(map(result_name, styles)), target=target, max_px=max_px)
    terms = job_terms(label, expires_after, deadline, priority=priority, failures=max_failures, attempts=max_attempts)

    def request(input: JobInput, pictures: Sequence[str]) -> JobRequest:
        stored = iter(pictures)  # the addresses of the masks
        return JobRequest(
            input=input,
            styles=tuple(styles),
            strength=strength,
            preserve_color=preserve_color,
            mask=None if mask is None else next(stored),
            regions=tuple(Region(style=style, mask=None if own is None else next(stored)) for style, own in regions),
            faces=faces,
            precision=precision,
            look=look,
            stroke=size,
            forms=forms,
            upscale=factor,
            output=Output(prefix=target.prefix, format=format, quality=quality, name=name, max_px=max_px),
            **terms,
        )

    check_writable(target)
    with session.client() as client:
        painted = [*styles, *(text for text, _ in regions)]
        check_styles(client, [parse_style(style) for text in painted for style in styles_of(text)])
        return run_job(
            session,
            client,
            request,
            inputs,
            naming,
            pictures=masks,
            are_masks=True,
            own_id=own_id,
            dry_run=dry_run,
            as_json=as_json,
        )


def check_styles(client: Client, styles: Sequence[tuple[str, str | None]]) -> None:
    """Raise ApiError (`not_found`) with a suggestion if a style or a version does not exist."""
    for name, version in styles:
        try:
            client.style(name, version=version)
        except ApiError as error:
            if error.status != 404:
                raise
            known = sorted(style.name for style in client.styles())
            if name in known:
                raise  # the version is wrong
            raise ApiError(status=404, code=error.code, detail=f"{error.detail} {_suggestion(name, known)}") from error


def _suggestion(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"Did you mean {near[0]}?"
    if not known:
        return "There are no styles yet: see nst styles train."
    more = f", and {len(known) - _SHOWN} more (nst styles list)" if len(known) > _SHOWN else ""
    return f"There are {', '.join(known[:_SHOWN])}{more}."
