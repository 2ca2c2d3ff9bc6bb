"""`nst uploads`: list the photos that were uploaded, and delete them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import typer
from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nst_core.client import ApiError
from scheduler.cli.commands.jobs import AsJson
from scheduler.cli.deleting import Yes, confirm, say_deleted
from scheduler.cli.exits import ExitCode
from scheduler.cli.session import print_json, session_of
from scheduler.cli.ui.times import ago
from scheduler.cli.ui.words import count_of
from scheduler.resources import Upload

#: Answers about the key or its rate rather than about one upload.
_ABOUT_ALL = (401, 403, 429)

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_uploads(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show at most this many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List uploads, the newest first."""
    session = session_of(context)
    with session.client() as client:
        uploads = list(islice(client.uploads(page=min(limit, 200)), limit))
    if as_json:
        print_json(uploads)
    else:
        session.out.print(uploads_table(uploads))


@app.command()
def delete(
    context: typer.Context,
    upload_ids: Annotated[list[str], typer.Argument(metavar="UPLOAD...", help="Their ids: upl_…", show_default=False)],
    yes: Yes = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Delete uploads with all their files; one that cannot be deleted keeps no other."""
    session = session_of(context)
    wanted = list(dict.fromkeys(upload_ids))
    what = wanted[0] if len(wanted) == 1 else count_of(len(wanted), "upload")
    confirm(session, f"Delete {what} with all files?", yes=yes)
    results: list[dict[str, Any]] = []
    with session.client() as client:
        for upload_id in wanted:
            try:
                client.delete_upload(upload_id)
            except ApiError as error:
                if error.status in _ABOUT_ALL or error.status >= 500:
                    raise
                text = f"[bold red]nst: error:[/] {escape(f'{upload_id}: {error.message} ({error.code})')}"
                session.err.print(text, soft_wrap=True)
                results.append({"id": upload_id, "deleted": False, "code": error.code, "message": error.message})
            else:
                say_deleted(session, upload_id, "its files are removed within minutes.")
                results.append({"id": upload_id, "deleted": True})
    if as_json:
        print_json(results)
    return ExitCode.OK if all(each["deleted"] for each in results) else ExitCode.REFUSED


def uploads_table(uploads: Sequence[Upload], *, now: datetime | None = None) -> RenderableType:
    """Return uploads as a table, one line each."""
    if not uploads:
        return Text("There are no uploads.", style="dim")
    now = now or datetime.now(UTC)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("upload", no_wrap=True)
    table.add_column("created", no_wrap=True, justify="right")
    table.add_column("last file", no_wrap=True, justify="right")
    table.add_column("address", overflow="fold")
    for each in uploads:
        table.add_row(Text(each.id, style="bold"), ago(each.created_at, now), ago(each.used_at, now), Text(each.prefix))
    return table
