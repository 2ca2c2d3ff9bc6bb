"""`nst styles`: which styles there are, what they were made of, and the making of others."""

from typing import Annotated

import typer

from scheduler.cli.commands import style_files, train
from scheduler.cli.commands.jobs import AsJson
from scheduler.cli.exits import UsageError
from scheduler.cli.options import parse_style
from scheduler.cli.session import print_json, session_of
from scheduler.cli.ui.jobs import presets_table
from scheduler.cli.ui.styles import diff_table, style_page, styles_table, versions_table

app = typer.Typer(no_args_is_help=True)

StyleName = Annotated[str, typer.Argument(metavar="NAME", help="The style's name.", show_default=False)]
StyleVersion = Annotated[
    str, typer.Argument(metavar="NAME[@VERSION]", help="The style, or a version of it.", show_default=False)
]


@app.command("list")
def list_styles(context: typer.Context, as_json: AsJson = False) -> None:
    """List the styles that a job may name."""
    session = session_of(context)
    with session.client() as client:
        styles = client.styles()
    if as_json:
        print_json(styles)
    else:
        session.out.print(styles_table(styles))


@app.command()
def show(context: typer.Context, text: StyleVersion, as_json: AsJson = False) -> None:
    """Show all about one style."""
    session = session_of(context)
    name, version = parse_style(text)
    with session.client() as client:
        style = client.style(name, version=version)
    if as_json:
        print_json(style)
    else:
        session.out.print(style_page(style))


app.command("train")(train.train)
app.command("watch")(train.watch)


@app.command()
def presets(context: typer.Context, as_json: AsJson = False) -> None:
    """List the presets of train."""
    session = session_of(context)
    with session.client() as client:
        found = client.runs.presets()
    if as_json:
        print_json(found)
    else:
        session.out.print(presets_table(found))


@app.command()
def versions(context: typer.Context, name: StyleName, as_json: AsJson = False) -> None:
    """List what a style is and was."""
    session = session_of(context)
    with session.client() as client:
        found = client.style_versions(name)
    if as_json:
        print_json(found)
    else:
        session.out.print(versions_table(found))


@app.command()
def diff(
    context: typer.Context,
    first: Annotated[str, typer.Argument(metavar="A", help="NAME or NAME@VERSION.", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="B", help="NAME or NAME@VERSION.", show_default=False)],
    all_fields: Annotated[bool, typer.Option("--all", help="Show also what is equal.")] = False,
) -> None:
    """Show in which fields the cards of two styles, or of two versions, differ."""
    session = session_of(context)
    with session.client() as client:
        ours, theirs = (client.style(name, version=version) for name, version in map(parse_style, (first, second)))
    session.out.print(diff_table(ours, theirs, all_fields=all_fields))


app.command("import")(style_files.import_style)
app.command("export")(style_files.export)


@app.command()
def publish(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="See nst styles versions.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Let a style's name stand for one of its versions."""
    session = session_of(context)
    name, version = parse_style(text)
    if version is None:
        raise UsageError(f"Say which version: {name}@VERSION, of those that nst styles versions {name} lists.")
    with session.client() as client:
        style = client.publish_style(name, version)
    if as_json:
        print_json(style)
    else:
        session.out.print(style_page(style))


@app.command()
def delete(context: typer.Context, name: StyleName) -> None:
    """Forget a style's name; its versions stay, also for jobs that use them."""
    session = session_of(context)
    with session.client() as client:
        client.delete_style(name)
