"""Routes of tenants: one's own, and all for administrators."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, StringConstraints

from scheduler.access.limits import Limits
from scheduler.api.bodies import Body
from scheduler.api.dependencies import CallerDep, KeysDep, TenantsDep
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import Page
from scheduler.api.parameters import AfterId, TenantId
from scheduler.api.routes.keys import KeyView
from scheduler.store.tenants import Tenant, Usage

router = APIRouter(route_class=JsonRoute, prefix="/v1/tenants", tags=["tenants"])
own_router = APIRouter(route_class=JsonRoute, prefix="/v1/tenant", tags=["tenants"])

_Place = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^s3://[^/]+")]
_Places = Annotated[list[_Place], Field(max_length=100)] | None
_Count = Annotated[int, Field(ge=0, le=2**53)] | None
_READ = (
    "s3:// folders that jobs may read; null: none, for the tenant default all buckets. The own place is always open."
)
_WRITE = "s3:// folders that results may go to; null: none but the own place, for the tenant default all buckets."


class LimitsBody(Body):
    """Limits that are others than those of the installation; null: unlimited."""

    max_queued_items: _Count = Field(None, description="Images that wait, of all jobs together.")
    max_unfinished_jobs: _Count = None
    max_items_per_job: _Count = None
    max_unfinished_runs: _Count = Field(None, description="Trainings that have not ended.")
    max_upload_bytes: _Count = Field(None, description="Of one file.")
    max_body_bytes: _Count = Field(None, description="Of the JSON of a request.")
    requests_per_s: Annotated[float, Field(ge=0.001, le=1e6)] | None = Field(None, description="Of all keys.")
    burst: Annotated[int, Field(ge=1, le=10**6)] | None = Field(None, description="Requests that may come at once.")
    max_keys: _Count = Field(None, description="API keys that are valid.")
    max_uploads: _Count = Field(None, description="Places for photos.")
    max_streams: _Count = Field(None, description="Open streams of events.")
    max_result_pixels: _Count = Field(None, description="Of a result: jobs have to say a max_px that keeps to it.")


class TenantBody(Body):
    """All that can be set for a tenant; what is not given gets its default."""

    weight: float = Field(1.0, ge=0.1, le=100, description="Its part of the workers beside the weights of others.")
    read: _Places = Field(None, description=_READ)
    write: _Places = Field(None, description=_WRITE)
    limits: LimitsBody = LimitsBody()


class LimitsView(BaseModel):
    """The limits that count for a tenant; null: unlimited."""

    max_queued_items: int | None
    max_unfinished_jobs: int | None
    max_items_per_job: int | None
    max_unfinished_runs: int | None
    max_upload_bytes: int | None
    max_body_bytes: int | None
    requests_per_s: float | None
    burst: int | None
    max_keys: int | None
    max_uploads: int | None
    max_streams: int | None
    max_result_pixels: int | None

    @classmethod
    def of(cls, limits: Limits) -> Self:
        """Return the view of limits."""
        return cls.model_validate(vars(limits))


class UsageView(BaseModel):
    """What a tenant uses now."""

    queued_items: int
    unfinished_jobs: int
    unfinished_runs: int


class TenantView(BaseModel):
    """A tenant: what is set for it, what counts for it, and what it uses now."""

    id: str
    weight: float
    read: list[str] | None = Field(description=_READ)
    write: list[str] | None = Field(description=_WRITE)
    overrides: dict[str, float | None] = Field(description="The limits that were set for it alone.")
    limits: LimitsView
    usage: UsageView


class TenantPage(Page[TenantView, str]):
    """A page of tenants."""


class OwnTenantView(TenantView):
    """The tenant of the key that asks, and the key."""

    key: KeyView


@own_router.get("")
def get_own_tenant(tenants: TenantsDep, keys: KeysDep, caller: CallerDep) -> OwnTenantView:
    """Return whose key this is, what it may do, the limits and the present usage."""
    values = _values(tenants.find(caller.tenant), tenants.limits(caller.tenant), tenants.usage(caller.tenant))
    return OwnTenantView(**values, key=KeyView.of(keys.own(caller), now=keys.now()))


@router.get("")
def list_tenants(
    tenants: TenantsDep,
    limit: Annotated[int, Query(ge=1, le=200, description="Entries of a page, at most.")] = 20,
    after_id: AfterId = None,
) -> TenantPage:
    """List tenants by name."""
    return TenantPage.collect(
        lambda most, after: tenants.all(limit=most, after=after or ""),
        lambda each: TenantView(**_values(each, tenants.limits(each.id), tenants.usage(each.id))),
        limit=limit,
        after_id=after_id,
    )


@router.get("/{tenant_id}")
def get_tenant(tenant_id: TenantId, tenants: TenantsDep) -> TenantView:
    """Return a tenant."""
    return TenantView(**_values(tenants.find(tenant_id), tenants.limits(tenant_id), tenants.usage(tenant_id)))


@router.put("/{tenant_id}")
def put_tenant(tenant_id: TenantId, body: TenantBody, tenants: TenantsDep) -> TenantView:
    """Set all of a tenant, also of one that has no key yet; it counts everywhere within 5 seconds."""
    wanted = Tenant(
        id=tenant_id,
        weight=body.weight,
        read=None if body.read is None else tuple(body.read),
        write=None if body.write is None else tuple(body.write),
        # Given as null: unlimited; not given: the default.
        limits=body.limits.model_dump(exclude_unset=True),
    )
    return TenantView(**_values(tenants.put(wanted), tenants.limits(tenant_id), tenants.usage(tenant_id)))


def _values(tenant: Tenant, limits: Limits, usage: Usage) -> dict[str, Any]:
    return {
        "id": tenant.id,
        "weight": tenant.weight,
        "read": None if tenant.read is None else list(tenant.read),
        "write": None if tenant.write is None else list(tenant.write),
        "overrides": tenant.limits,
        "limits": LimitsView.of(limits),
        "usage": UsageView(**vars(usage)),
    }
