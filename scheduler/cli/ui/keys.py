"""What the commands show of keys and tenants."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from scheduler.access.resources import Key, OwnTenant, Tenant
from scheduler.cli.ui.times import ago, local_time
from scheduler.domain.jobs import FIRST_TENANT
from scheduler.domain.scopes import Scope

_COLOURS = {"active": "green", "expired": "yellow", "revoked": "red"}
_LIMITS = {
    "max_queued_items": "images that wait",
    "max_unfinished_jobs": "unfinished jobs",
    "max_items_per_job": "images of a job",
    "max_unfinished_runs": "unfinished trainings",
    "max_upload_bytes": "bytes of a file",
    "max_body_bytes": "bytes of a request",
    "requests_per_s": "requests a second",
    "burst": "requests at once",
    "max_keys": "valid keys",
    "max_uploads": "uploads",
    "max_streams": "streams of events",
    "max_result_pixels": "pixels of a result",
}
_USED = {
    "max_queued_items": "queued_items",
    "max_unfinished_jobs": "unfinished_jobs",
    "max_unfinished_runs": "unfinished_runs",
}


def keys_table(keys: Sequence[Key], *, now: datetime | None = None) -> RenderableType:
    """Return keys as a table, one line each where the scopes are few."""
    if not keys:
        return Text("There are no keys.", style="dim")
    now = now or datetime.now(UTC)
    # Fits into 80 columns.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("key", no_wrap=True)
    table.add_column("name", max_width=20, overflow="ellipsis", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("scopes", overflow="fold")
    table.add_column("used", no_wrap=True, justify="right")
    for key in keys:
        table.add_row(
            Text(key.id, style="bold"),
            escape(key.name),
            _status(key),
            _scopes(key),
            ago(key.last_used_at, now),
        )
    return table


def key_page(key: Key) -> RenderableType:
    """Return all about a key."""
    grid = _grid()
    grid.add_row("key", Text.assemble((key.id, "bold"), "  ", _status(key)))
    grid.add_row("name", escape(key.name) or Text("–"))
    grid.add_row("tenant", escape(key.tenant))
    grid.add_row("scopes", ", ".join(key.scopes))
    grid.add_row("created", local_time(key.created_at))
    grid.add_row("last used", local_time(key.last_used_at))
    grid.add_row("expires", local_time(key.expires_at) if key.expires_at else "never")
    if key.revoked_at:
        grid.add_row("revoked", local_time(key.revoked_at))
    if key.previous_until:
        grid.add_row("old secret", f"good until {local_time(key.previous_until)}")
    return grid


def tenants_table(tenants: Iterable[Tenant]) -> Table:
    """Return a table of tenants."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("tenant", overflow="fold")
    for column in ("weight", "images waiting", "jobs", "trainings"):
        table.add_column(column, justify="right")
    for each in tenants:
        usage = each.usage
        counts = (usage.queued_items, usage.unfinished_jobs, usage.unfinished_runs)
        table.add_row(Text(each.id), f"{each.weight:g}", *(f"{count:,}" for count in counts))
    return table


def tenant_page(tenant: Tenant) -> RenderableType:
    """Return all about a tenant: places, limits and how much of them is used."""
    grid = _grid()
    grid.add_row("tenant", Text(tenant.id, style="bold"))
    if isinstance(tenant, OwnTenant):
        key = tenant.key
        grid.add_row("key", Text.assemble(key.id, f"  {key.name}  " if key.name else "  ", _status(key)))
        grid.add_row("scopes", ", ".join(key.scopes))
        if key.expires_at:
            grid.add_row("expires", local_time(key.expires_at))
    grid.add_row("weight", f"{tenant.weight:g}")
    grid.add_row("reads", _places(tenant.read, tenant.id))
    grid.add_row("writes", _places(tenant.write, tenant.id))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("limit", no_wrap=True)
    table.add_column("used", justify="right")
    table.add_column("of", justify="right")
    table.add_column("")
    for name, value in tenant.limits.items():
        used = getattr(tenant.usage, _USED[name]) if name in _USED else None
        table.add_row(
            escape(_LIMITS.get(name, name)),
            "" if used is None else f"{used:,}",
            Text("unlimited", style="dim") if value is None else f"{value:,g}" if value % 1 else f"{value:,.0f}",
            Text("set for this tenant", style="dim") if name in tenant.overrides else "",
        )
    return Group(grid, table)


def _places(places: Iterable[str] | None, tenant: str) -> Text:
    if places is None and tenant == FIRST_TENANT:
        return Text("all buckets of the installation")
    return Text("\n".join(places or ()) or "its own place alone", overflow="fold")


def _scopes(key: Key) -> str:
    return "all" if set(key.scopes) == set(Scope) else ", ".join(key.scopes)


def _status(key: Key) -> Text:
    return Text(key.status, style=_COLOURS.get(key.status, ""))


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid
