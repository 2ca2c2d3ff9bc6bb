"""`nst uploads`: list and delete uploaded photos."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from nst_core.client import ApiError
from nst_core.client.resources.uploads import Upload
from scheduler.cli.commands.parameters import AsJson, Limit, Yes
from scheduler.cli.deleting import confirm, say_deleted
from scheduler.cli.exits import ExitCode
from scheduler.cli.session import first, print_json, session_of
from scheduler.cli.ui.tables import fixed, listing, number, rest
from scheduler.cli.ui.times import ago
from scheduler.cli.ui.words import count_of

#: Statuses of answers that concern the key or its rate rather than one upload.
_ABOUT_ALL = (401, 403, 429)

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_uploads(context: typer.Context, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List uploads, newest first."""
    session_of(context).show_answer(lambda client: first(client.uploads, limit), uploads_table, as_json=as_json)


@app.command()
def delete(
    context: typer.Context,
    upload_ids: Annotated[list[str], typer.Argument(metavar="UPLOAD...", help="Ids of the uploads: upl_….")],
    yes: Yes = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Delete uploads and all their files. If one cannot be deleted, the others still are."""
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
                reason = f"{upload_id}: {error.message} ({error.code})"
                session.note(Text.assemble(("nst: error:", "bold red"), f" {reason}"))
                results.append({"id": upload_id, "deleted": False, "code": error.code, "message": error.message})
            else:
                say_deleted(session, upload_id, "its files are removed within minutes.")
                results.append({"id": upload_id, "deleted": True})
    if as_json:
        print_json(results)
    return ExitCode.OK if all(each["deleted"] for each in results) else ExitCode.REFUSED


def uploads_table(uploads: Sequence[Upload], *, now: datetime | None = None) -> RenderableType:
    """Return uploads as a table."""
    columns = (fixed("upload"), number("created"), number("last file"), rest("address"))
    rows = [
        (Text(each.id, style="bold"), ago(each.created_at, now), ago(each.used_at, now), each.prefix)
        for each in uploads
    ]
    return listing(columns, rows, empty="There are no uploads.")
