"""`nst tenants`: shares of the workers, places and limits of tenants; for administrators."""

from typing import Annotated

import typer

from nst_core.client import ApiError
from scheduler.cli.commands.parameters import AsJson
from scheduler.cli.exits import UsageError
from scheduler.cli.session import session_of
from scheduler.cli.ui.access import tenant_page, tenants_table

app = typer.Typer(no_args_is_help=True)

TenantId = Annotated[str, typer.Argument(metavar="TENANT", help="Name of the tenant.")]
_WEIGHT, _DEFAULT = 1.0, "default"


@app.command("list")
def list_tenants(context: typer.Context, as_json: AsJson = False) -> None:
    """List all tenants and their usage."""
    session_of(context).show_answer(lambda client: list(client.tenants.all()), tenants_table, as_json=as_json)


@app.command()
def show(context: typer.Context, tenant: TenantId, as_json: AsJson = False) -> None:
    """Show the settings, limits and usage of a tenant."""
    session_of(context).show_answer(lambda client: client.tenants.get(tenant), tenant_page, as_json=as_json)


@app.command("set")
def set_tenant(
    context: typer.Context,
    tenant: TenantId,
    weight: Annotated[
        float | None,
        typer.Option("--weight", min=0.1, max=100, help="Share of the workers, relative to other tenants."),
    ] = None,
    read: Annotated[
        list[str] | None,
        typer.Option("--read", metavar="S3", help="An s3:// folder that jobs may read, or `default`. Can be repeated."),
    ] = None,
    write: Annotated[
        list[str] | None,
        typer.Option("--write", metavar="S3", help="An s3:// folder for results, or `default`. Can be repeated."),
    ] = None,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=N",
            help="A limit: a number, `unlimited` or `default`. Can be repeated. `nst tenants show --json` lists the "
            "names.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change settings of a tenant. Everything you do not name stays as it is."""
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
    session.show(kept, tenant_page, as_json=as_json)


def parse_limits(texts: list[str]) -> tuple[dict[str, float | None], set[str]]:
    """Return the limits given as NAME=N, and the names that return to their defaults."""
    changes: dict[str, float | None] = {}
    back: set[str] = set()
    for text in texts:
        name, equals, value = text.partition("=")
        name, value = name.strip().replace("-", "_"), value.strip().replace("_", "").replace(",", "")
        try:
            if value == _DEFAULT:
                back.add(name)
            elif value == "unlimited":
                changes[name] = None
            else:
                changes[name] = int(value) if value.isdecimal() else float(value)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise UsageError(f"{text!r} is not a limit such as max_unfinished_jobs=10, burst=unlimited, burst=default.")
    return changes, back
