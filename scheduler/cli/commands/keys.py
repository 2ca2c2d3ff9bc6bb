"""`nst keys` and `nst whoami`: who may use the API, and what for."""

import re
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

import typer

from nst_core.client.resources.access import NewKey
from scheduler.cli.commands.parameters import AsJson, Limit
from scheduler.cli.exits import UsageError
from scheduler.cli.options import parse_span
from scheduler.cli.session import Session, first, print_json, session_of
from scheduler.cli.ui.access import key_page, keys_table, tenant_page

app = typer.Typer(no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="The 8 digits of the key, as nst keys list shows them.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="Another tenant than yours (administrators only).")]


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.")],
    scopes: Annotated[
        list[str],
        typer.Option(
            "--scope",
            "-s",
            metavar="SCOPE",
            help="jobs:read, jobs:write, styles:read, styles:train, keys:write or admin. Can be repeated.",
        ),
    ],
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="Time until the key expires: 12h, 30d.")
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Create a key. It is printed only once, on standard output."""
    session = session_of(context)
    wanted = [scope for each in scopes for scope in each.split(",") if scope]
    end = None if expires is None else datetime.now(UTC) + timedelta(seconds=parse_span(expires))
    with session.client() as client:
        key = client.keys.create(name, wanted, tenant=tenant, expires_at=end)
    _print_secret(session, key, as_json=as_json)


@app.command("list")
def list_keys(context: typer.Context, tenant: Tenant = None, limit: Limit = 100, as_json: AsJson = False) -> None:
    """List keys, newest first."""
    view = partial(keys_table, filtered=tenant is not None)
    session_of(context).show_answer(lambda client: first(client.keys.all, limit, tenant=tenant), view, as_json=as_json)


@app.command()
def show(context: typer.Context, key_id: KeyId, as_json: AsJson = False) -> None:
    """Show everything about a key except its secret."""
    session_of(context).show_answer(lambda client: client.keys.get(digits_of(key_id)), key_page, as_json=as_json)


@app.command()
def revoke(context: typer.Context, key_id: KeyId) -> None:
    """Revoke a key for good."""
    session = session_of(context)
    with session.client() as client:
        client.keys.revoke(digits_of(key_id))
    session.note(f"Revoked {digits_of(key_id)}; it stops working within 5 seconds.")


@app.command()
def rotate(
    context: typer.Context,
    key_id: KeyId,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="TIME", help="Time until the present secret expires, at most 7d.")
    ] = "1h",
    as_json: AsJson = False,
) -> None:
    """Give a key a new secret. It is printed only once, on standard output."""
    session = session_of(context)
    overlap_s = int(parse_span(overlap, zero=True))
    with session.client() as client:
        key = client.keys.rotate(digits_of(key_id), overlap_s=overlap_s)
    _print_secret(session, key, as_json=as_json)


def whoami(context: typer.Context, as_json: AsJson = False) -> None:
    """Show your key, your permissions and your limits."""
    session_of(context).show_answer(lambda client: client.tenants.own(), tenant_page, as_json=as_json)


def digits_of(text: str) -> str:
    """Return the 8 digits that name a key; the UsageError does not repeat the text, which may be a secret."""
    match = re.fullmatch(r"(?:nst_)?([0-9a-f]{8})(?:_.*)?", text)
    if match is None:
        raise UsageError("Give the 8 digits of the key, which follow nst_; nst keys list shows them.")
    return match[1]


def _print_secret(session: Session, key: NewKey, *, as_json: bool) -> None:
    if as_json:
        print_json(key)
        return
    session.err.print(key_page(key))
    session.err.print("Keep the key now: it is not shown again.", style="dim")
    sys.stdout.write(f"{key.key}\n")
