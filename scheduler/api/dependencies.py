"""What routes get: the service, and the tenant whose key the request carries."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from nst_core.blobs import BlobStore
from nst_core.broker import Broker
from scheduler.errors import UnauthenticatedError
from scheduler.event_hub import EventHub
from scheduler.run_service import RunService
from scheduler.service import Service
from scheduler.store.database import Database
from scheduler.webhooks.service import WebhookService

_bearer = HTTPBearer(auto_error=False, description="An API key, nst_…")


@dataclass(frozen=True, kw_only=True)
class ApiState:
    """What the app holds for its routes."""

    service: Service
    database: Database
    broker: Broker
    blobs: BlobStore
    max_upload_bytes: int
    events: EventHub
    webhooks: WebhookService


def get_state(request: Request) -> ApiState:
    """Return the app's state."""
    state: ApiState = request.app.state.nst
    return state


def get_service(state: Annotated[ApiState, Depends(get_state)]) -> Service:
    """Return the service."""
    return state.service


def get_events(state: Annotated[ApiState, Depends(get_state)]) -> EventHub:
    """Return what hands out events."""
    return state.events


def get_webhooks(state: Annotated[ApiState, Depends(get_state)]) -> WebhookService:
    """Return the service of webhooks."""
    return state.webhooks


def get_runs(service: Annotated[Service, Depends(get_service)]) -> RunService:
    """Return the part of the service that is about runs."""
    return service.runs


def get_tenant(
    service: Annotated[Service, Depends(get_service)],
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> str:
    """Return whose request it is; raise UnauthenticatedError where its key is missing or not valid."""
    if credentials is None:
        raise UnauthenticatedError("Send an API key: Authorization: Bearer nst_…")
    return service.authenticate(credentials.credentials)


StateDep = Annotated[ApiState, Depends(get_state)]
ServiceDep = Annotated[Service, Depends(get_service)]
EventsDep = Annotated[EventHub, Depends(get_events)]
WebhooksDep = Annotated[WebhookService, Depends(get_webhooks)]
RunsDep = Annotated[RunService, Depends(get_runs)]
TenantDep = Annotated[str, Depends(get_tenant)]
