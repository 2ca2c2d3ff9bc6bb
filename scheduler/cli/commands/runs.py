"""`nst runs`: list, show, control and fork trainings, and fetch their pictures."""

from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from nst_core.client import Client
from nst_core.client.resources.runs import ForkRequest, Run, RunStatus, Sample
from nst_core.errors import ProtocolError
from nst_core.styles import SHEET_NAME
from nst_core.training.scales import STRENGTHS, STROKES
from scheduler.cli.commands.parameters import AsJson, Fields, Limit, Yes
from scheduler.cli.commands.train import say_submitted
from scheduler.cli.deleting import confirm, say_deleted
from scheduler.cli.exits import UsageError
from scheduler.cli.options import given, parse_fields
from scheduler.cli.run_watch import find_run, is_run_id
from scheduler.cli.session import first, print_json, session_of
from scheduler.cli.transfer.files import in_threads, write_whole
from scheduler.cli.ui.progress import transfer_bar
from scheduler.cli.ui.runs import run_page, runs_table
from scheduler.cli.ui.words import count_of, status_line
from scheduler.cli.unanswered import submitting

app = typer.Typer(no_args_is_help=True)

RunName = Annotated[str, typer.Argument(metavar="RUN", help="Id of a training, or a style's name for its newest one.")]


@app.command("list")
def list_runs(
    context: typer.Context,
    limit: Limit = 20,
    name: Annotated[str | None, typer.Option("--name", help="Only trainings of this style.")] = None,
    status: Annotated[RunStatus | None, typer.Option(help="Only trainings with this status.")] = None,
    as_json: AsJson = False,
) -> None:
    """List trainings, newest first."""
    view = partial(runs_table, filtered=name is not None or status is not None)
    session_of(context).show_answer(
        lambda client: first(client.runs.all, limit, name=name, status=status), view, as_json=as_json
    )


@app.command()
def show(context: typer.Context, text: RunName, as_json: AsJson = False) -> None:
    """Show everything about one training."""
    session_of(context).show_answer(lambda client: find_run(client, text), run_page, as_json=as_json)


@app.command()
def pause(context: typer.Context, text: RunName, as_json: AsJson = False) -> None:
    """Pause a training after its current step."""
    _change(context, text, lambda client, run: client.runs.pause(run.id), as_json=as_json)


@app.command()
def resume(context: typer.Context, text: RunName, as_json: AsJson = False) -> None:
    """Continue a training that is paused, failed or cancelled."""
    _change(context, text, lambda client, run: client.runs.resume(run.id), as_json=as_json)


@app.command()
def cancel(context: typer.Context, text: RunName, as_json: AsJson = False) -> None:
    """Cancel a training after its current step. Its last checkpoint is kept."""
    _change(context, text, lambda client, run: client.runs.cancel(run.id), as_json=as_json)


@app.command()
def delete(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Id of the training: run_….")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete a training that has ended, with its checkpoints and samples. Its styles are kept."""
    session = session_of(context)
    if not is_run_id(run_id):
        # With a style's name, repeating the command would delete the next older training.
        raise UsageError(f"{run_id!r} is not the id of a training; nst runs list shows them.")
    with session.client() as client:
        run = client.runs.get(run_id)
        confirm(session, f"Delete {run.id}, a training of {run.name}, with its checkpoints and samples?", yes=yes)
        client.runs.delete(run.id)
    say_deleted(
        session, run.id, f"its checkpoints and samples are removed within minutes, the styles of {run.name} are kept."
    )
    if as_json:
        print_json({"id": run.id, "deleted": True})


@app.command()
def publish(context: typer.Context, text: RunName, as_json: AsJson = False) -> None:
    """Make the result of a training the current version of its style."""
    _change(context, text, lambda client, run: client.runs.publish(run.id), as_json=as_json)


@app.command()
def extend(
    context: typer.Context,
    text: RunName,
    more_steps: Annotated[int, typer.Option("--more-steps", min=1, help="Number of steps to add.")],
    as_json: AsJson = False,
) -> None:
    """Add steps to a training, even if it is finished."""
    _change(
        context, text, lambda client, run: client.runs.extend(run.id, steps=run.steps + more_steps), as_json=as_json
    )


@app.command()
def fork(
    context: typer.Context,
    text: RunName,
    step: Annotated[int | None, typer.Option(min=1, help="Step of a kept checkpoint. Default: the newest.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of the new training. Default: the same as the old one.")
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(
            min=STRENGTHS[0],
            max=STRENGTHS[1],
            help="Weight of the style, relative to the preset. Default: the same as the old one.",
        ),
    ] = None,
    stroke: Annotated[
        float | None,
        typer.Option(
            min=STROKES[0],
            max=STROKES[1],
            help="Size of the strokes, relative to the preset. Default: the same as the old one.",
        ),
    ] = None,
    options: Fields = None,
    name: Annotated[str | None, typer.Option("--name", "-n", help="Name of the new style. Default: the same.")] = None,
    publish: Annotated[
        bool | None,
        typer.Option("--publish/--no-publish", help="Whether to publish the result. Default: the same as the old one."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start a new training from a checkpoint of this one, which does not change."""
    session = session_of(context)
    fields = parse_fields(options or ())
    with session.client() as client:
        parent = find_run(client, text)
        chosen = given(step=step, name=name, strength=strength, stroke=stroke, publish=publish)
        request = ForkRequest(steps=steps or parent.steps, options=fields, **chosen)
        with submitting(session, client, request, thing="run", listing="runs", place=parent.id) as key:
            run = client.runs.fork(parent.id, request, idempotency_key=key)
        say_submitted(session, run, as_json=as_json)


@app.command()
def samples(
    context: typer.Context,
    text: RunName,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", file_okay=False)],
) -> None:
    """Write the samples of a training to a folder, and the preview sheet if it is finished."""
    session = session_of(context)
    with session.client() as client:
        run = find_run(client, text)
        found = client.runs.samples(run.id)
        finished = run.status is RunStatus.SUCCEEDED
        output.mkdir(parents=True, exist_ok=True)

        def fetch(sample: Sample) -> None:
            write_whole(output / _local_name(sample), client.runs.sample(run.id, sample.id))

        with transfer_bar(session.err, "downloading", len(found)) as advance:
            for _ in in_threads(fetch, found):
                advance()
        if finished:
            write_whole(output / SHEET_NAME, client.runs.sheet(run.id))
    session.note(f"{count_of(len(found), 'sample')}{' and ' + SHEET_NAME if finished else ''} → {output}")


@app.command()
def curve(
    context: typer.Context,
    text: RunName,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File to write: .png for a picture, .csv for numbers.", dir_okay=False),
    ],
) -> None:
    """Write the loss curve of a training to a file."""
    session = session_of(context)
    if (suffix := output.suffix.lower()) not in (".png", ".csv"):
        raise UsageError(f"{output} cannot be written: a curve is a .png or a .csv file.")
    with session.client() as client:
        run = find_run(client, text)
        write_whole(output, client.runs.curve(run.id) if suffix == ".png" else client.runs.losses(run.id))


def _change(context: typer.Context, text: str, change: Callable[[Client, Run], Run], *, as_json: bool) -> None:
    session_of(context).show_answer(lambda client: change(client, find_run(client, text)), status_line, as_json=as_json)


def _local_name(sample: Sample) -> PurePosixPath:
    """Return the file name of a sample; raise ProtocolError if it would lead outside the folder."""
    if sample.id in ("", ".", "..") or "\\" in sample.id:
        raise ProtocolError(f"{sample.uri!r} is not the address of a sample.")
    return PurePosixPath(sample.id)
