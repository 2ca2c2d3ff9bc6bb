"""`nst styles`: which styles there are."""

from typing import Annotated

import typer

from scheduler.cli import render
from scheduler.cli.jobs import AsJson
from scheduler.cli.session import print_json, session_of

app = typer.Typer(no_args_is_help=True, help="List and show styles.")


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
