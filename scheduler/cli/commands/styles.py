"""`nst styles`: list, show, train, import, export and publish styles."""

from typing import Annotated

import typer

from scheduler.cli.commands import style_files, train
from scheduler.cli.commands.parameters import AsJson
from scheduler.cli.exits import UsageError
from scheduler.cli.options import parse_style
from scheduler.cli.session import session_of
from scheduler.cli.ui.jobs import presets_table
from scheduler.cli.ui.styles import diff_table, style_page, styles_table, versions_table

app = typer.Typer(no_args_is_help=True)

StyleName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the style.")]
StyleVersion = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="Style, or a version of it.")]


@app.command("list")
def list_styles(context: typer.Context, as_json: AsJson = False) -> None:
    """List the styles that you can use."""
    session_of(context).show_answer(lambda client: client.styles(), styles_table, as_json=as_json)


@app.command()
def show(context: typer.Context, text: StyleVersion, as_json: AsJson = False) -> None:
    """Show a style and its card: painting, look, training, measurements, sources. --json has every field."""
    session = session_of(context)
    name, version = parse_style(text)
    with session.client() as client:
        session.show(client.style(name, version=version), style_page, as_json=as_json)


app.command("train")(train.train)
app.command("watch")(train.watch)


@app.command()
def presets(context: typer.Context, as_json: AsJson = False) -> None:
    """List the presets of nst styles train."""
    session_of(context).show_answer(lambda client: client.runs.presets(), presets_table, as_json=as_json)


@app.command()
def versions(context: typer.Context, name: StyleName, as_json: AsJson = False) -> None:
    """List the present and the former versions of a style."""
    session_of(context).show_answer(lambda client: client.style_versions(name), versions_table, as_json=as_json)


@app.command()
def diff(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="A", help="NAME or NAME@VERSION.")],
    second: Annotated[str, typer.Argument(metavar="B", help="NAME or NAME@VERSION.")],
    all_fields: Annotated[bool, typer.Option("--all", help="Show the fields that are equal, too.")] = False,
) -> None:
    """Compare the cards of two styles, or of two versions."""
    session = session_of(context)
    with session.client() as client:
        ours, theirs = (client.style(name, version=version) for name, version in map(parse_style, (first, second)))
    session.out.print(diff_table(ours, theirs, all_fields=all_fields))


app.command("import")(style_files.import_style)
app.command("export")(style_files.export)


@app.command()
def publish(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="See nst styles versions.")],
    as_json: AsJson = False,
) -> None:
    """Make a version the current one of its style."""
    session = session_of(context)
    name, version = parse_style(text)
    if version is None:
        raise UsageError(f"Give a version: {name}@VERSION. nst styles versions {name} lists them.")
    with session.client() as client:
        session.show(client.publish_style(name, version), style_page, as_json=as_json)


@app.command()
def delete(context: typer.Context, name: StyleName) -> None:
    """Delete the name of a style. Its versions are kept, and jobs that use them are not affected."""
    session = session_of(context)
    with session.client() as client:
        client.delete_style(name)
