"""Routes of tenants: the caller's own tenant, and all tenants for administrators."""

from typing import Annotated

from fastapi import APIRouter, Query

from nst_core.client.resources.access import OwnTenant, Tenant, TenantPage, TenantRequest
from scheduler.api.dependencies import CallerDep, KeysDep, ServiceDep, TenantsDep
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import collect
from scheduler.api.parameters import AfterId, TenantId
from scheduler.api.resources import key_of, own_tenant_of, tenant_of
from scheduler.store.tenants import Tenant as TenantRow

router = APIRouter(route_class=JsonRoute, prefix="/v1/tenants", tags=["tenants"])
own_router = APIRouter(route_class=JsonRoute, prefix="/v1/tenant", tags=["tenants"])


@own_router.get("")
def get_own_tenant(tenants: TenantsDep, keys: KeysDep, service: ServiceDep, caller: CallerDep) -> OwnTenant:
    """Return your key, and your tenant with its limits and usage."""
    tenant = caller.tenant
    key = key_of(keys.own(caller), now=keys.now())
    limits, usage, photos = tenants.limits(tenant), tenants.usage(tenant), service.runs.has_own_photos
    return own_tenant_of(tenants.find(tenant), limits, usage, key, training_photos=photos)


@router.get("")
def list_tenants(
    tenants: TenantsDep,
    limit: Annotated[int, Query(ge=1, le=200, description="The maximum number of entries in a page.")] = 20,
    after_id: AfterId = None,
) -> TenantPage:
    """List tenants by name."""
    return collect(
        TenantPage,
        lambda most, after: tenants.all(limit=most, after=after or ""),
        lambda each: tenant_of(each, tenants.limits(each.id), tenants.usage(each.id)),
        limit=limit,
        after_id=after_id,
    )


@router.get("/{tenant_id}")
def get_tenant(tenant_id: TenantId, tenants: TenantsDep) -> Tenant:
    """Return a tenant."""
    return tenant_of(tenants.find(tenant_id), tenants.limits(tenant_id), tenants.usage(tenant_id))


@router.put("/{tenant_id}")
def put_tenant(tenant_id: TenantId, body: TenantRequest, tenants: TenantsDep) -> Tenant:
    """Replace all settings of a tenant.

    The tenant need not have a key yet. The settings apply everywhere within 5 seconds.
    """
    wanted = TenantRow(
        id=tenant_id,
        weight=body.weight,
        read=body.read,
        write=body.write,
        # null means unlimited; an omitted field means the default.
        limits=body.limits.model_dump(exclude_unset=True),
    )
    return tenant_of(tenants.put(wanted), tenants.limits(tenant_id), tenants.usage(tenant_id))
