"""`nst keys`, and `nst whoami`: who may use the API, and for what."""

import re
import sys
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated

import typer

from scheduler.access.resources import NewKey
from scheduler.cli.commands.jobs import AsJson
from scheduler.cli.exits import UsageError
from scheduler.cli.session import Session, print_json, session_of
from scheduler.cli.ui.keys import key_page, keys_table, tenant_page

app = typer.Typer(no_args_is_help=True)

KeyId = Annotated[
    str, typer.Argument(metavar="KEY", help="The key's 8 digits, or its beginning nst_….", show_default=False)
]
Tenant = Annotated[
    str | None, typer.Option("--tenant", help="Another tenant than one's own; for administrators.", show_default=False)
]
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.", show_default=False)],
    scopes: Annotated[
        list[str],
        typer.Option(
            "--scope",
            "-s",
            metavar="SCOPE",
            help="jobs:read, jobs:write, styles:read, styles:train, keys:write, admin; may be repeated.",
            show_default=False,
        ),
    ],
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="Good for so long, as 12h, 30d.", show_default=False)
    ] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is printed once, on the standard output; keep it."""
    session = session_of(context)
    wanted = [scope for each in scopes for scope in each.split(",") if scope]
    end = None if expires is None else (datetime.now(UTC) + timedelta(seconds=parse_span(expires))).isoformat()
    with session.client() as client:
        key = client.keys.create(name, wanted, tenant=tenant, expires_at=end)
    _print_secret(session, key, as_json=as_json)


@app.command("list")
def list_keys(
    context: typer.Context,
    tenant: Tenant = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show at most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List keys, the newest first."""
    session = session_of(context)
    with session.client() as client:
        keys = list(islice(client.keys.all(tenant=tenant, page=min(limit, 200)), limit))
    if as_json:
        print_json(keys)
    else:
        session.out.print(keys_table(keys))


@app.command()
def show(context: typer.Context, key_id: KeyId, as_json: AsJson = False) -> None:
    """Show all about a key but its secret."""
    session = session_of(context)
    with session.client() as client:
        key = client.keys.get(digits_of(key_id))
    if as_json:
        print_json(key)
    else:
        session.out.print(key_page(key))


@app.command()
def revoke(context: typer.Context, key_id: KeyId) -> None:
    """Make a key invalid for ever."""
    session = session_of(context)
    with session.client() as client:
        client.keys.revoke(digits_of(key_id))
    session.err.print(f"{digits_of(key_id)} is revoked; it is dead everywhere within 5 seconds.", soft_wrap=True)


@app.command()
def rotate(
    context: typer.Context,
    key_id: KeyId,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="TIME", help="The present secret is good for so long, at most 7d.")
    ] = "1h",
    as_json: AsJson = False,
) -> None:
    """Give a key another secret, which is printed once; keep it."""
    session = session_of(context)
    with session.client() as client:
        key = client.keys.rotate(digits_of(key_id), overlap_s=parse_span(overlap))
    _print_secret(session, key, as_json=as_json)


def whoami(context: typer.Context, as_json: AsJson = False) -> None:
    """Show your key, your permissions and your limits."""
    session = session_of(context)
    with session.client() as client:
        tenant = client.tenants.own()
    if as_json:
        print_json(tenant)
    else:
        session.out.print(tenant_page(tenant))


def digits_of(text: str) -> str:
    """Return the 8 digits that name a key; raise UsageError where there are none, and say nothing of the rest."""
    match = re.fullmatch(r"(?:nst_)?([0-9a-f]{8})(?:_.*)?", text)
    if match is None:
        raise UsageError("A key is named by its 8 digits, those after nst_; nst keys list has them.")
    return match[1]


def parse_span(text: str) -> int:
    """Return a length of time such as 90s, 30min, 12h, 30d or 2w in seconds."""
    match = re.fullmatch(r"(\d{1,9})\s*([a-z]+)", text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise UsageError(f"{text!r} is no length of time such as 90s, 30min, 12h, 30d or 2w.")
    seconds = int(match[1]) * _UNITS[match[2]]
    if seconds > 100 * 365 * 86400:
        raise UsageError(f"{text} is longer than a hundred years.")
    return seconds


def _print_secret(session: Session, key: NewKey, *, as_json: bool) -> None:
    if as_json:
        print_json(key)
        return
    session.err.print(key_page(key))
    session.err.print("This is the only time that it is shown:", style="dim")
    sys.stdout.write(f"{key.key}\n")
