"""How API keys and tenants are shown."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Column
from rich.text import Text

from nst_core.client.resources.access import Key, OwnTenant, Scope, Tenant
from scheduler.cli.ui.tables import fixed, listing, none_of, number, page
from scheduler.cli.ui.times import ago, local_time
from scheduler.cli.ui.words import status_text
from scheduler.domain.jobs import FIRST_TENANT

_LIMITS = {
    "max_queued_items": "waiting images",
    "max_unfinished_jobs": "unfinished jobs",
    "max_items_per_job": "images per job",
    "max_unfinished_runs": "unfinished trainings",
    "max_upload_bytes": "bytes per file",
    "max_body_bytes": "bytes per request",
    "requests_per_s": "requests per second",
    "burst": "requests at once",
    "max_keys": "valid keys",
    "max_uploads": "uploads",
    "max_streams": "event streams",
    "max_result_pixels": "pixels per result",
}
_USED = {
    "max_queued_items": "queued_items",
    "max_unfinished_jobs": "unfinished_jobs",
    "max_unfinished_runs": "unfinished_runs",
}


def keys_table(keys: Sequence[Key], *, filtered: bool = False, now: datetime | None = None) -> RenderableType:
    """Return keys as a table of 80 columns."""
    columns = (
        fixed("key"),
        fixed("name", max_width=20, overflow="ellipsis"),
        fixed("status"),
        Column("scopes", overflow="fold"),
        number("last used"),
    )
    rows = [
        (Text(key.id, style="bold"), key.name, status_text(key.status), _scopes(key), ago(key.last_used_at, now))
        for key in keys
    ]
    return listing(columns, rows, empty=none_of("keys", filtered=filtered))


def key_page(key: Key) -> RenderableType:
    """Return everything about a key."""
    return page(
        [
            ("key", Text.assemble((key.id, "bold"), "  ", status_text(key.status))),
            ("name", key.name or "–"),
            ("tenant", key.tenant),
            ("scopes", ", ".join(key.scopes)),
            ("created", local_time(key.created_at)),
            ("last used", local_time(key.last_used_at)),
            ("expires", local_time(key.expires_at) if key.expires_at else "never"),
            ("revoked", local_time(key.revoked_at) if key.revoked_at else None),
            ("old secret", f"valid until {local_time(key.previous_until)}" if key.previous_until else None),
        ]
    )


def tenants_table(tenants: Iterable[Tenant]) -> RenderableType:
    """Return tenants as a table."""
    columns = [Column("tenant", overflow="fold")]
    columns += [number(title) for title in ("weight", "waiting images", "jobs", "trainings")]
    rows = [
        (each.id, f"{each.weight:g}", *(f"{getattr(each.usage, name):,}" for name in _USED.values()))
        for each in tenants
    ]
    return listing(columns, rows, empty="There are no tenants.")


def tenant_page(tenant: Tenant) -> RenderableType:
    """Return everything about a tenant: places, limits, and how much of them is used."""
    columns = (fixed("limit"), number("used"), number("of"), Column(""))
    return Group(page(_tenant_rows(tenant)), listing(columns, (list(row) for row in _limit_rows(tenant))))


def _tenant_rows(tenant: Tenant) -> Iterator[tuple[str, RenderableType | None]]:
    yield "tenant", Text(tenant.id, style="bold")
    if isinstance(tenant, OwnTenant):
        key = tenant.key
        yield "key", Text.assemble(key.id, f"  {key.name}  " if key.name else "  ", status_text(key.status))
        yield "scopes", ", ".join(key.scopes)
        yield "expires", local_time(key.expires_at) if key.expires_at else None
    yield "weight", f"{tenant.weight:g}"
    yield "reads", _places(tenant.read, tenant.id)
    yield "writes", _places(tenant.write, tenant.id)


def _limit_rows(tenant: Tenant) -> Iterator[Sequence[RenderableType]]:
    for name, value in tenant.limits.model_dump(exclude_unset=True).items():
        used = f"{getattr(tenant.usage, _USED[name]):,}" if name in _USED else ""
        most = Text("unlimited", style="dim") if value is None else f"{value:,g}" if value % 1 else f"{value:,.0f}"
        note = Text("set for this tenant", style="dim") if name in tenant.overrides else ""
        yield _LIMITS.get(name, name), used, most, note


def _places(places: Iterable[str] | None, tenant: str) -> str:
    if places is None and tenant == FIRST_TENANT:
        return "all buckets"
    return "\n".join(places or ()) or "only its own place"


def _scopes(key: Key) -> str:
    return "all" if set(key.scopes) == set(Scope) else ", ".join(key.scopes)
