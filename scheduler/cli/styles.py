"""`nst styles`: which styles there are, and networks of one's own as styles."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from scheduler.cli import render
from scheduler.cli.convert import weights_of
from scheduler.cli.jobs import AsJson
from scheduler.cli.session import print_json, session_of

app = typer.Typer(no_args_is_help=True, help="List, show and import styles.")


@app.command("list")
def list_styles(context: typer.Context, as_json: AsJson = False) -> None:
    """List the styles that a job may name."""
    session = session_of(context)
    with session.client() as client:
        styles = client.styles()
    if as_json:
        print_json(styles)
    else:
        session.out.print(render.styles_table(styles))


@app.command()
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="STYLE", help="The style's name.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Show all about one style."""
    session = session_of(context)
    with session.client() as client:
        style = client.style(name)
    if as_json:
        print_json(style)
    else:
        session.out.print(render.style_page(style))


@app.command("import")
def import_style(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A checkpoint of pytorch/examples or lengstrom/fast-style-transfer (.npz), or weights of nst.",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ],
    name: Annotated[str, typer.Option("--name", "-n", help="The style's name.", show_default=False)],
    title: Annotated[str | None, typer.Option(help="The painting.", show_default=False)] = None,
    artist: Annotated[str | None, typer.Option(help="Who painted it.", show_default=False)] = None,
    year: Annotated[str | None, typer.Option(help="When.", show_default=False)] = None,
    rights: Annotated[str | None, typer.Option(help="Who may use the weights, and how.", show_default=False)] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Give a style of that name this version.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a style of a network that was trained elsewhere.

    Its pictures are those of the original program, in the size of the photo. Converting a checkpoint needs torch on
    this machine.
    """
    session = session_of(context)
    given = {"title": title, "artist": artist, "year": year, "rights": rights}
    with tempfile.TemporaryDirectory(prefix="nst-import-") as scratch, session.client() as client:
        with session.err.status(f"Reading {escape(str(file))}"):
            weights = weights_of(file, Path(scratch))
        card = {key: value for key, value in (given | {"origin": weights.origin}).items() if value is not None}
        style = client.import_style(name, weights.path, card, replace=replace)
    if as_json:
        print_json(style)
    else:
        session.out.print(render.style_page(style))
