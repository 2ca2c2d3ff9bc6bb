"""`nst runs`: list, show, steer and fork trainings, and fetch their pictures."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from nst_core.client import Client
from nst_core.errors import ProtocolError
from nst_core.styles import SHEET_NAME
from nst_core.training.scales import STRENGTHS, STROKES
from scheduler.cli.commands.jobs import AsJson
from scheduler.cli.commands.train import begun
from scheduler.cli.deleting import Yes, confirm, say_deleted
from scheduler.cli.exits import UsageError
from scheduler.cli.options import parse_fields
from scheduler.cli.run_watch import find_run, is_run_id
from scheduler.cli.session import print_json, session_of
from scheduler.cli.transfer.files import in_threads, write_whole
from scheduler.cli.ui import runs as run_render
from scheduler.cli.ui.progress import transfer_bar
from scheduler.domain.runs import RunStatus
from scheduler.runs.resources import ForkRequest, Run, Sample

app = typer.Typer(no_args_is_help=True)

RunName = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run's id, or a style's name for its newest run.", show_default=False),
]
Fields = Annotated[
    list[str] | None,
    typer.Option("--set", "--option", metavar="FIELD=VALUE", help="Another value for a field of the config."),
]


@app.command("list")
def list_runs(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show at most so many.")] = 20,
    name: Annotated[str | None, typer.Option("--name", help="Those of this style.", show_default=False)] = None,
    status: Annotated[RunStatus | None, typer.Option(help="Those that stand so.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List trainings, the newest first."""
    session = session_of(context)
    with session.client() as client:
        runs = list(islice(client.runs.all(name=name, status=status, page=min(limit, 200)), limit))
    if as_json:
        print_json(runs)
    else:
        session.out.print(run_render.runs_table(runs))


@app.command()
def show(context: typer.Context, text: RunName, as_json: AsJson = False) -> None:
    """Show all about one training."""
    session = session_of(context)
    with session.client() as client:
        run = find_run(client, text)
    if as_json:
        print_json(run)
    else:
        session.out.print(run_render.run_page(run))


@app.command()
def pause(context: typer.Context, text: RunName, as_json: AsJson = False) -> None:
    """Let a training wait after the step in hand."""
    _change(context, text, lambda client, run: client.runs.pause(run.id), as_json=as_json)


@app.command()
def resume(context: typer.Context, text: RunName, as_json: AsJson = False) -> None:
    """Let a training go on that is paused, failed or cancelled."""
    _change(context, text, lambda client, run: client.runs.resume(run.id), as_json=as_json)


@app.command()
def cancel(context: typer.Context, text: RunName, as_json: AsJson = False) -> None:
    """End a training after the step in hand; its last checkpoint is kept."""
    _change(context, text, lambda client, run: client.runs.cancel(run.id), as_json=as_json)


@app.command()
def delete(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id: run_…", show_default=False)],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete a training that has ended, with its checkpoints and samples; its styles stay."""
    session = session_of(context)
    if not is_run_id(run_id):
        # The newest run of a name is another one when the command is given again.
        raise UsageError(f"{run_id!r} is not the id of a run: nst runs list has them.")
    with session.client() as client:
        run = client.runs.get(run_id)
        confirm(session, f"Delete {run.id}, a training of {run.name}, and its checkpoints and samples?", yes=yes)
        client.runs.delete(run.id)
    say_deleted(session, run.id, f"its checkpoints and samples are removed within minutes, styles of {run.name} stay.")
    if as_json:
        print_json({"id": run.id, "deleted": True})


@app.command()
def publish(context: typer.Context, text: RunName, as_json: AsJson = False) -> None:
    """Let the style's name stand for what a training has made."""
    _change(context, text, lambda client, run: client.runs.publish(run.id), as_json=as_json)


@app.command()
def extend(
    context: typer.Context,
    text: RunName,
    more_steps: Annotated[int, typer.Option("--more-steps", min=1, help="So many more.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Let a training go on to more steps than it was to have, also when it is finished."""
    _change(
        context, text, lambda client, run: client.runs.extend(run.id, steps=run.steps + more_steps), as_json=as_json
    )


@app.command()
def fork(
    context: typer.Context,
    text: RunName,
    step: Annotated[
        int | None, typer.Option(min=1, help="A kept checkpoint's. Default: the newest.", show_default=False)
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of the new one. Default: as many as the old one's.", show_default=False)
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(min=STRENGTHS[0], max=STRENGTHS[1], help="Balance anew, times this.", show_default=False),
    ] = None,
    stroke: Annotated[
        float | None, typer.Option(min=STROKES[0], max=STROKES[1], help="Size of the strokes.", show_default=False)
    ] = None,
    options: Fields = None,
    name: Annotated[str | None, typer.Option("--name", "-n", help="Of its style.", show_default=False)] = None,
    publish: Annotated[
        bool | None,
        typer.Option("--publish/--no-publish", help="Default: as the old one.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Begin another training with a checkpoint of this one; this one stays as it is."""
    session = session_of(context)
    fields = parse_fields(options or ())
    with session.client() as client:
        parent = find_run(client, text)
        request = ForkRequest(
            steps=steps or parent.steps,
            step=step,
            name=name,
            options=fields,
            strength=strength,
            stroke=stroke,
            publish=publish,
        )
        begun(session, client.runs.fork(parent.id, request), as_json=as_json)


@app.command()
def samples(
    context: typer.Context,
    text: RunName,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder.", file_okay=False, show_default=False)],
) -> None:
    """Write what a training made of its samples into a folder, with the preview sheet of a finished one."""
    session = session_of(context)
    with session.client() as client:
        run = find_run(client, text)
        found = client.runs.samples(run.id)
        finished = run.status is RunStatus.SUCCEEDED
        output.mkdir(parents=True, exist_ok=True)

        def fetch(sample: Sample) -> None:
            write_whole(output / _local_name(sample), client.runs.sample(run.id, sample.file_name))

        with transfer_bar(session.err, "downloading", len(found)) as advance:
            for _ in in_threads(fetch, found):
                advance()
        if finished:
            write_whole(output / SHEET_NAME, client.runs.sheet(run.id))
    session.err.print(f"{len(found):,} samples{' and ' + SHEET_NAME if finished else ''} → {output}", soft_wrap=True)


@app.command()
def curve(
    context: typer.Context,
    text: RunName,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="A .png to look at, or a .csv.", dir_okay=False, show_default=False),
    ],
) -> None:
    """Write the losses of a training to a file."""
    session = session_of(context)
    if (suffix := output.suffix.lower()) not in (".png", ".csv"):
        raise UsageError(f"{output} cannot be written; a curve is a .png or a .csv.")
    with session.client() as client:
        run = find_run(client, text)
        write_whole(output, client.runs.curve(run.id) if suffix == ".png" else client.runs.losses(run.id))


def _change(context: typer.Context, text: str, change: Callable[[Client, Run], Run], *, as_json: bool) -> None:
    session = session_of(context)
    with session.client() as client:
        run = change(client, find_run(client, text))
    if as_json:
        print_json(run)
    else:
        session.out.print(run_render.status_text(run.status), f"[dim]{run.id}[/]")


def _local_name(sample: Sample) -> PurePosixPath:
    """Return the name of a sample's file here; raise ProtocolError where it would lead outside of a folder."""
    if sample.file_name in ("", ".", "..") or "\\" in sample.file_name:
        raise ProtocolError(f"{sample.uri!r} is no address of a sample.")
    return PurePosixPath(sample.file_name)
