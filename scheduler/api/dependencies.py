"""Dependencies of routes: the services, the caller, and the check of its scopes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from nst_core.storage.blobs import BlobStore
from scheduler.access.keys import Caller, Keys
from scheduler.access.limits import Limits
from scheduler.access.tenants import Tenants
from scheduler.api.readiness import Readiness
from scheduler.control.broker import Broker
from scheduler.domain.errors import UnauthenticatedError
from scheduler.events.hub import EventHub
from scheduler.jobs.service import JobService
from scheduler.runs.service import RunService
from scheduler.store.database import Database
from scheduler.webhooks.service import WebhookService

NO_KEY = "Send an API key: Authorization: Bearer nst_…"

#: For the OpenAPI document; `Gate` reads the header, before any of a request's body.
_bearer = HTTPBearer(auto_error=False, description="An API key, nst_…")


@dataclass(frozen=True, kw_only=True)
class ApiState:
    """The objects that the app provides to its routes."""

    service: JobService
    database: Database
    broker: Broker
    blobs: BlobStore
    events: EventHub
    webhooks: WebhookService
    readiness: Readiness = field(default_factory=Readiness)


async def get_state(request: Request) -> ApiState:
    """Return the app's state."""
    state: ApiState = request.app.state.nst
    return state


async def get_caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """Return the caller; raise UnauthenticatedError if `Gate` did not authenticate the request."""
    caller = getattr(request.state, "caller", None)
    if not isinstance(caller, Caller):
        raise UnauthenticatedError(NO_KEY)
    return caller


async def get_tenant(caller: Annotated[Caller, Depends(get_caller)]) -> str:
    """Return the tenant of the caller."""
    return caller.tenant


@dataclass(frozen=True, kw_only=True)
class Needs:
    """The scopes that the routes of a router need: one of `read` for GET, one of `write` for all else.

    If it is empty, any key is accepted. If a route has its own, both apply: its own and that of its router.
    """

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()

    def scopes(self, method: str) -> tuple[str, ...]:
        """Return the scopes for a method; the caller needs one of them."""
        return self.read if method.upper() in ("GET", "HEAD") else self.write

    def __call__(self, request: Request, caller: Annotated[Caller, Depends(get_caller)]) -> None:
        """Raise ForbiddenError if the caller has none of the scopes."""
        caller.require(*self.scopes(request.method))


def _part(read: Callable[[ApiState], object]) -> Any:
    """Return the dependency on a part of the app's state."""

    async def get(state: StateDep) -> object:
        return read(state)

    return Depends(get)


StateDep = Annotated[ApiState, Depends(get_state)]
ServiceDep = Annotated[JobService, _part(lambda state: state.service)]
EventsDep = Annotated[EventHub, _part(lambda state: state.events)]
WebhooksDep = Annotated[WebhookService, _part(lambda state: state.webhooks)]
RunsDep = Annotated[RunService, _part(lambda state: state.service.runs)]
KeysDep = Annotated[Keys, _part(lambda state: state.service.keys)]
TenantsDep = Annotated[Tenants, _part(lambda state: state.service.tenants)]
CallerDep = Annotated[Caller, Depends(get_caller)]
TenantDep = Annotated[str, Depends(get_tenant)]


def get_limits(tenants: TenantsDep, tenant: TenantDep) -> Limits:
    """Return the limits of the caller's tenant."""
    return tenants.limits(tenant)


LimitsDep = Annotated[Limits, Depends(get_limits)]
