"""`nst styles train` and `nst styles watch`: train a style of any painting on the workers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from nst_core.client import Client
from nst_core.client.resources.runs import Run, TrainRequest
from nst_core.client.resources.styles import Preset
from nst_core.errors import ConfigError
from nst_core.training.scales import STRENGTHS, STROKES
from scheduler.cli.commands.parameters import AsJson, Fields
from scheduler.cli.exits import ExitCode, UsageError, code_for_status
from scheduler.cli.options import given, parse_fields, parse_style
from scheduler.cli.refusals import check_style_name
from scheduler.cli.run_watch import find_run, follow, report
from scheduler.cli.session import Session, print_json, session_of
from scheduler.cli.transfer.training import TrainInputs, upload_training
from scheduler.cli.ui.runs import warning_of
from scheduler.cli.ui.words import status_text
from scheduler.cli.unanswered import submitting

if TYPE_CHECKING:
    from nst_core.training.presets import Recipe

_Painting = Annotated[str, typer.Argument(metavar="PAINTING", help="Image file, or its s3:// address.")]
_Name = Annotated[str, typer.Option("--name", "-n", help="Name of the style.")]
_Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="FOLDER|S3",
        help="Photos to train on: a folder or an s3:// prefix. Default: the scheduler's own photos.",
    ),
]
_Family = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Family that the style joins, such as painters: takes minutes. Default: the preset's, or none.",
    ),
]
_Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        "-p",
        help="See nst styles presets; instant is the fastest. Default: standard, or norms with --family.",
    ),
]
_Steps = Annotated[int | None, typer.Option(min=1, help="Number of steps. Default: the preset's.")]
_Stroke = Annotated[
    float, typer.Option(min=STROKES[0], max=STROKES[1], help="Size of the strokes, relative to the preset.")
]
_Strength = Annotated[
    float,
    typer.Option(
        min=STRENGTHS[0], max=STRENGTHS[1], help="Weight of the style against the photo, relative to the preset."
    ),
]
_Seed = Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")]
_Initial = Annotated[
    str | None,
    typer.Option(metavar="STYLE|none", help="Style whose weights the training starts from. Default: the preset's."),
]
_Samples = Annotated[
    list[str] | None,
    typer.Option(
        "--sample", metavar="PHOTO", help="Photo to stylize now and then during the training. Can be repeated."
    ),
]
_SampleEvery = Annotated[int | None, typer.Option(min=0, help="Number of steps between two samples; 0: no samples.")]
_HeldOut = Annotated[
    int | None,
    typer.Option(min=0, help="Number of photos to keep out of the training, to measure the result. Default: 16."),
]
_Publish = Annotated[
    bool, typer.Option("--publish/--no-publish", help="Make the result the current version of the style.")
]
_Exact = Annotated[
    bool, typer.Option("--exact", help="Make the result reproducible to the byte; several times slower.")
]
_Title = Annotated[str | None, typer.Option(help="Title of the painting.")]
_Artist = Annotated[str | None, typer.Option(help="Painter.")]
_Year = Annotated[str | None, typer.Option(help="Year of the painting.")]
_Rights = Annotated[str | None, typer.Option(help="License of the style.")]
_Watch = Annotated[bool, typer.Option("--watch/--no-watch", help="Show the progress until the training ends.")]

#: Stands for what has not been uploaded.
_ANYTHING = TrainInputs(painting="s3://somewhere/painting", data=None, samples=())


def train(
    context: typer.Context,
    painting: _Painting,
    name: _Name,
    data: _Data = None,
    family: _Family = None,
    preset: _Preset = None,
    steps: _Steps = None,
    stroke: _Stroke = 1.0,
    strength: _Strength = 1.0,
    seed: _Seed = 0,
    initial: _Initial = None,
    options: Fields = None,
    samples: _Samples = None,
    sample_every: _SampleEvery = None,
    held_out: _HeldOut = None,
    publish: _Publish = True,
    exact: _Exact = False,
    title: _Title = None,
    artist: _Artist = None,
    year: _Year = None,
    rights: _Rights = None,
    watch: _Watch = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Train a style of a painting.

    Takes a minute to hours. If a worker fails, another one continues.
    """
    session = session_of(context)
    fields = parse_fields(options or ())
    about = given(title=title, artist=artist, year=year, rights=rights)
    wishes = given(name=name, family=family, preset=preset, initial=initial, steps=steps, options=fields)
    wishes |= given(stroke=stroke, strength=strength, seed=seed, sample_every=sample_every, held_out=held_out)
    wishes |= given(publish=publish, exact=exact, about=about)
    with session.client() as client:
        presets = client.runs.presets()
        _check(client, presets, preset=preset, family=family, initial=initial)
        config = _config_of(presets, preset=preset, family=family)
        # All that is wrong is found before anything is uploaded.
        _check_options(config, _request(_ANYTHING, wishes))
        check_style_name(client, name)
        size_px = _style_size_px(config, stroke=stroke, options=fields)
        inputs = upload_training(
            session, client, painting=painting, data=data, samples=samples or (), style_size_px=size_px
        )
        request = _request(inputs, wishes)
        with submitting(session, client, request, thing="run", listing="runs") as key:
            run = client.runs.train(request, idempotency_key=key)
        if not watch:
            say_submitted(session, run, as_json=as_json)
            return ExitCode.OK
        return _to_the_end(session, client, run, as_json=as_json)


def watch(
    context: typer.Context,
    text: Annotated[
        str,
        typer.Argument(metavar="NAME|RUN", help="Name of a style, for its newest training, or the id of a training."),
    ],
    as_json: AsJson = False,
) -> ExitCode:
    """Follow a training until it ends. The exit code tells how it ended."""
    session = session_of(context)
    with session.client() as client:
        return _to_the_end(session, client, find_run(client, text), as_json=as_json)


def say_submitted(session: Session, run: Run, *, as_json: bool) -> None:
    """Print the new training, and how to watch it."""
    session.show(run, lambda run: status_text(run.status).append(f" {run.id}", style="dim"), as_json=as_json)
    if warning := warning_of(run):
        session.note(Text(f"Warning: {warning}", style="yellow"))
    session.hint("Watch it with", "styles", "watch", run.name)


def _request(inputs: TrainInputs, wishes: Mapping[str, Any]) -> TrainRequest:
    return TrainRequest(painting=inputs.painting, samples=inputs.samples, **given(data=inputs.data), **wishes)


def _check(
    client: Client, presets: Sequence[Preset], *, preset: str | None, family: str | None, initial: str | None
) -> None:
    """Raise an error for a wrong name before anything is uploaded."""
    if preset is not None and preset not in (known := [each.name for each in presets]):
        raise UsageError(f"There is no preset {preset}; known are {', '.join(known)}.")
    if family is not None and family not in (known := [name for each in presets for name in each.families]):
        raise UsageError(f"There is no family {family}; known are {', '.join(known)}.")
    if initial is not None and initial != "none":
        name, version = parse_style(initial)
        client.style(name, version=version)


def _config_of(presets: Sequence[Preset], *, preset: str | None, family: str | None) -> Mapping[str, Any]:
    """Return the config of the preset that a training gets; empty if only the API knows it."""
    from nst_core.training.presets import DEFAULT, DEFAULT_OF_FAMILY  # late, because it needs NumPy

    name = preset or (DEFAULT if family is None else DEFAULT_OF_FAMILY)
    return next((each.config for each in presets if each.name == name), {})


def _check_options(config: Mapping[str, Any], request: TrainRequest) -> None:
    """Raise UsageError for a request that cannot give a style; `config` is that of its preset."""
    from nst_core.training.config import TrainConfig  # late, because it needs NumPy
    from nst_core.training.limits import check_limits
    from nst_core.training.presets import changed

    try:
        base = TrainConfig.from_dict(dict(config))
    except ConfigError:
        return  # the API is of another version, and knows better
    try:
        if recipe := _recipe(config, request):
            check_limits(recipe.config)
        elif request.family is None:
            changed(base, request.options, steps=request.steps)
    except ConfigError as error:
        own = error.field in ("preset", "family", "initial") and error.field not in request.options
        raise UsageError(f"--{error.field if own else 'set'}: {error.message}") from error


def _recipe(config: Mapping[str, Any], request: TrainRequest) -> "Recipe | None":
    """Return what the API makes of a request; raise ConfigError as it does.

    None if its preset or its family is not as in this version of nst: then its rules may be others too.
    """
    from nst_core.nets.weights_header import read_config  # late, because it needs NumPy
    from nst_core.styles import families
    from nst_core.training.presets import DEFAULT, DEFAULT_OF_FAMILY, presets, resolve

    preset = presets().get(request.preset or (DEFAULT if request.family is None else DEFAULT_OF_FAMILY))
    if preset is None or preset.config.to_dict() != config:
        return None
    name, known = request.family or preset.family, families()
    if name is not None and name not in known:
        return None
    return resolve(
        preset.name,
        family=None if name is None else read_config(known[name].weights()),
        steps=request.steps,
        stroke=request.stroke,
        strength=request.strength,
        seed=request.seed,
        initial=request.initial,
        options=request.options,
    )


def _style_size_px(config: Mapping[str, Any], *, stroke: float, options: Mapping[str, Any]) -> int | None:
    """Return the longest side that a painting gets in a training; None if only the API knows it."""
    px = options.get("style_size_px", config.get("style_size_px"))
    return round(px * stroke) if isinstance(px, int) else None


def _to_the_end(session: Session, client: Client, run: Run, *, as_json: bool) -> ExitCode:
    run = follow(session, client, run)
    if as_json:
        print_json(run)
    else:
        report(session, client, run)
    return code_for_status(run.status)
