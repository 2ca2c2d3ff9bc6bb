"""`nst tenants`: the part of the workers, the places and the limits of tenants; for administrators."""

from typing import Annotated

import typer

from nst_core.client import ApiError
from scheduler.cli.commands.jobs import AsJson
from scheduler.cli.exits import UsageError
from scheduler.cli.session import print_json, session_of
from scheduler.cli.ui.keys import tenant_page, tenants_table

app = typer.Typer(no_args_is_help=True)

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's name.", show_default=False)]
_WEIGHT, _DEFAULT = 1.0, "default"


@app.command("list")
def list_tenants(context: typer.Context, as_json: AsJson = False) -> None:
    """List all tenants and what they use."""
    session = session_of(context)
    with session.client() as client:
        found = list(client.tenants.all())
    if as_json:
        print_json(found)
    else:
        session.out.print(tenants_table(found))


@app.command()
def show(context: typer.Context, tenant: TenantId, as_json: AsJson = False) -> None:
    """Show a tenant: what is set, what counts, and what is used."""
    session = session_of(context)
    with session.client() as client:
        found = client.tenants.get(tenant)
    if as_json:
        print_json(found)
    else:
        session.out.print(tenant_page(found))


@app.command("set")
def set_tenant(
    context: typer.Context,
    tenant: TenantId,
    weight: Annotated[
        float | None,
        typer.Option("--weight", min=0.1, max=100, help="Its part of the workers, beside others.", show_default=False),
    ] = None,
    read: Annotated[
        list[str] | None,
        typer.Option(
            "--read", metavar="S3", help="A folder that jobs may read; repeat it, or default.", show_default=False
        ),
    ] = None,
    write: Annotated[
        list[str] | None,
        typer.Option("--write", metavar="S3", help="A folder for results; repeat it, or default.", show_default=False),
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=N",
            help="A number, unlimited or default; may be repeated. nst tenants show --json has the names.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is named, and keep the rest."""
    session = session_of(context)
    changes, back = parse_limits(limits or [])
    with session.client() as client:
        try:
            found = client.tenants.get(tenant)
            before = (found.weight, found.read, found.write, found.overrides)
        except ApiError as error:
            if error.code != "not_found":
                raise
            before = (_WEIGHT, None, None, {})
        overrides = {name: value for name, value in (before[3] | changes).items() if name not in back}
        kept = client.tenants.put(
            tenant,
            weight=before[0] if weight is None else weight,
            read=before[1] if not read else None if read == [_DEFAULT] else read,
            write=before[2] if not write else None if write == [_DEFAULT] else write,
            limits=overrides,
        )
    if as_json:
        print_json(kept)
    else:
        session.out.print(tenant_page(kept))


def parse_limits(texts: list[str]) -> tuple[dict[str, float | None], set[str]]:
    """Return the limits of NAME=N texts, and the names that get their defaults back; raise UsageError for others."""
    changes: dict[str, float | None] = {}
    back: set[str] = set()
    for text in texts:
        name, equals, value = text.partition("=")
        name, value = name.strip().replace("-", "_"), value.strip().replace("_", "").replace(",", "")
        try:
            if value == "default":
                back.add(name)
            elif value == "unlimited":
                changes[name] = None
            else:
                changes[name] = int(value) if value.isdecimal() else float(value)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise UsageError(f"{text!r} is no limit such as max_unfinished_jobs=10, burst=unlimited or burst=default.")
    return changes, back
