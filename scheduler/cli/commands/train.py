"""`nst styles train` and `nst styles watch`: a style of any painting, trained by the workers."""

from typing import Annotated

import typer
from rich.text import Text

from nst_core.client import Client
from nst_core.training.scales import STRENGTHS, STROKES
from scheduler.cli.commands.jobs import AsJson
from scheduler.cli.exits import ExitCode, UsageError, code_for_status
from scheduler.cli.options import given, parse_fields, parse_style
from scheduler.cli.run_watch import find_run, follow, report
from scheduler.cli.session import Session, print_json, session_of
from scheduler.cli.transfer.train_uploads import upload_training
from scheduler.cli.ui.runs import status_text, warning_of
from scheduler.runs.resources import DEFAULT_TRAIN_PRESET, Run, TrainRequest


def train(
    context: typer.Context,
    painting: Annotated[
        str, typer.Argument(metavar="PAINTING", help="A picture, or its s3:// address.", show_default=False)
    ],
    name: Annotated[str, typer.Option("--name", "-n", help="The style's name.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="FOLDER|S3",
            help="Photos to train on: a folder, or an s3:// prefix. Default: the scheduler's own.",
            show_default=False,
        ),
    ] = None,
    preset: Annotated[str, typer.Option("--preset", "-p", help="See nst styles presets.")] = DEFAULT_TRAIN_PRESET,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps. Default: the preset's.", show_default=False)] = None,
    stroke: Annotated[
        float, typer.Option(min=STROKES[0], max=STROKES[1], help="Size of the strokes, times the preset's.")
    ] = 1.0,
    strength: Annotated[
        float, typer.Option(min=STRENGTHS[0], max=STRENGTHS[1], help="How much style, times what balances the photo.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Decides all that is drawn at random.")] = 0,
    initial: Annotated[
        str | None,
        typer.Option(metavar="STYLE|none", help="Begin with the weights of this style.", show_default=False),
    ] = None,
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Another field of the preset's config.")
    ] = None,
    samples: Annotated[
        list[str] | None, typer.Option("--sample", metavar="PHOTO", help="Stylize it as the training goes on.")
    ] = None,
    sample_every: Annotated[
        int | None, typer.Option(min=0, help="Steps from one picture of a sample to the next; 0: none.")
    ] = None,
    held_out: Annotated[int | None, typer.Option(min=0, help="Photos that measure the result alone.")] = None,
    publish: Annotated[bool, typer.Option("--publish/--no-publish", help="Give the name to the result.")] = True,
    exact: Annotated[bool, typer.Option("--exact", help="The same bytes each time, several times slower.")] = False,
    title: Annotated[str | None, typer.Option(help="The painting.", show_default=False)] = None,
    artist: Annotated[str | None, typer.Option(help="Who painted it.", show_default=False)] = None,
    year: Annotated[str | None, typer.Option(help="When.", show_default=False)] = None,
    rights: Annotated[str | None, typer.Option(help="Who may use it, and how.", show_default=False)] = None,
    watch: Annotated[bool, typer.Option("--watch/--no-watch", help="Stay and show how it gets on.")] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Train a style of a painting.

    Takes from minutes to hours on the workers, in steps that survive the death of any of them.
    """
    session = session_of(context)
    fields = parse_fields(options or ())
    with session.client() as client:
        _check(client, preset, initial)
        inputs = upload_training(session, client, painting=painting, data=data, samples=samples or ())
        run = client.runs.train(
            TrainRequest(
                name=name,
                painting=inputs.painting,
                data=inputs.data,
                preset=preset,
                steps=steps,
                stroke=stroke,
                strength=strength,
                seed=seed,
                options=fields,
                initial=initial,
                samples=inputs.samples,
                sample_every=sample_every,
                held_out=held_out,
                publish=publish,
                exact=exact,
                about=given(title=title, artist=artist, year=year, rights=rights),
            )
        )
        if not watch:
            begun(session, run, as_json=as_json)
            return ExitCode.OK
        return _to_the_end(session, client, run, as_json=as_json)


def watch(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="NAME|RUN", help="A style's name, for its newest run, or a run's id.")],
    as_json: AsJson = False,
) -> ExitCode:
    """Follow a training to its end; the exit code says how it ended."""
    session = session_of(context)
    with session.client() as client:
        return _to_the_end(session, client, find_run(client, text), as_json=as_json)


def begun(session: Session, run: Run, *, as_json: bool) -> None:
    """Say what was submitted, and how to watch it."""
    if as_json:
        print_json(run)
    else:
        session.out.print(status_text(run.status), run.id)
    if warning := warning_of(run):
        session.err.print(Text(f"Warning: {warning}", style="yellow"), soft_wrap=True)
    session.hint("Watch it with", "styles", "watch", run.name)


def _check(client: Client, preset: str, initial: str | None) -> None:
    """Raise an error for a wrong name before the upload, not after it."""
    if preset not in (known := [each.name for each in client.runs.presets()]):
        raise UsageError(f"There is no preset {preset}; known are {', '.join(known)}.")
    if initial is not None and initial != "none":
        name, version = parse_style(initial)
        client.style(name, version=version)


def _to_the_end(session: Session, client: Client, run: Run, *, as_json: bool) -> ExitCode:
    run = follow(session, client, run)
    if as_json:
        print_json(run)
    else:
        report(session, client, run)
    return code_for_status(run.status)
