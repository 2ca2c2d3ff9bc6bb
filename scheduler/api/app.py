"""The FastAPI app, put together from its routers."""

import time
from typing import Any

from fastapi import APIRouter, Depends, FastAPI

from nst_core import __version__
from nst_core.client.resources.access import Scope
from nst_core.clock import Clock
from nst_core.storage.blobs import BlobStore
from scheduler.api import openapi, problems
from scheduler.api.dependencies import ApiState, Needs
from scheduler.api.heads import Heads
from scheduler.api.measured import Measured, RequestObserver
from scheduler.api.middleware import Envelope, Gate
from scheduler.api.queries import check_query
from scheduler.api.routes import (
    errors,
    events,
    health,
    job_items,
    jobs,
    keys,
    presets,
    runs,
    styles,
    tenants,
    uploads,
    webhooks,
)
from scheduler.control.broker import Broker
from scheduler.events.hub import EventHub
from scheduler.jobs.service import JobService
from scheduler.store.database import Database
from scheduler.webhooks.address import Rules
from scheduler.webhooks.service import WebhookService

_ANY_KEY = Needs()
_KEYS = (Scope.KEYS_WRITE, Scope.ADMIN)
#: A client that may upload photos may also list them.
_UPLOADS = Needs(
    read=(Scope.JOBS_READ, Scope.JOBS_WRITE, Scope.STYLES_TRAIN), write=(Scope.JOBS_WRITE, Scope.STYLES_TRAIN)
)
#: The scopes that each router's routes need; None if they need no key.
ROUTERS: tuple[tuple[APIRouter, Needs | None], ...] = (
    (health.router, None),
    (errors.router, None),
    (jobs.router, Needs(read=(Scope.JOBS_READ,), write=(Scope.JOBS_WRITE,))),
    (job_items.router, Needs(read=(Scope.JOBS_READ,))),
    (presets.router, _ANY_KEY),
    (runs.router, Needs(read=(Scope.STYLES_READ,), write=(Scope.STYLES_TRAIN,))),
    (styles.router, Needs(read=(Scope.STYLES_READ,), write=(Scope.STYLES_TRAIN,))),
    (uploads.router, _UPLOADS),
    (keys.router, Needs(read=_KEYS, write=_KEYS)),
    (tenants.router, Needs(read=(Scope.ADMIN,), write=(Scope.ADMIN,))),
    (tenants.own_router, _ANY_KEY),
    (events.jobs_router, Needs(read=(Scope.JOBS_READ,))),
    # Either scope is enough: webhooks report runs to clients with jobs:read too.
    (events.runs_router, Needs(read=(Scope.JOBS_READ, Scope.STYLES_READ))),
    (webhooks.router, Needs(read=(Scope.JOBS_READ,), write=(Scope.JOBS_WRITE,))),
)

_DESCRIPTION = """\
Submit a job with photos in S3 storage and one or more styles, and download the images when it has ended.

Send an API key with each request: `Authorization: Bearer nst_…`. Errors are
`application/problem+json` with a stable `code`; `GET /v1/errors` lists all codes.

Lists are paginated: pass the `last_id` of a page as the `after_id` of the next request.
These requests take an `Idempotency-Key`, and are safe to repeat with the same one: `POST /v1/jobs`,
`POST /v1/jobs/{job_id}/retry`, `POST /v1/styles` and `POST /v1/runs/{run_id}/fork`.
"""


class _Api(FastAPI):
    """An app whose OpenAPI document describes the scopes and errors of each route."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = openapi.describe(super().openapi(), openapi.needs_of(ROUTERS))
        return self.openapi_schema


def make_hub(service: JobService, database: Database) -> EventHub:
    """Return the hub of events; a tenant may have as many streams as its limits allow."""
    return EventHub(database, max_streams=lambda tenant: service.tenants.limits(tenant).max_streams)


def make_api(
    service: JobService,
    *,
    database: Database,
    broker: Broker,
    blobs: BlobStore,
    clock: Clock,
    hub: EventHub | None = None,
    webhook_service: WebhookService | None = None,
    observe: RequestObserver = lambda route, method, status, seconds: None,
) -> FastAPI:
    """Return the app for a service; `clock` gives monotonic seconds, for rate limits.

    By default the number of event streams is limited per tenant, and webhooks are disabled. `observe` receives how soon
    each request was answered.
    """
    api = _Api(
        title="nst",
        version=__version__,
        summary="Neural style transfer in bulk",
        description=_DESCRIPTION,
        servers=[{"url": "/", "description": "The scheduler that serves this document"}],
        docs_url="/docs",
        # Generated clients get function names such as submit_job instead of submit_job_v1_jobs_post.
        generate_unique_id_function=lambda route: route.name,
    )
    api.state.nst = ApiState(
        service=service,
        database=database,
        broker=broker,
        blobs=blobs,
        events=hub or make_hub(service, database),
        webhooks=webhook_service or WebhookService(database, vault=None, rules=Rules(), clock=time.time),
    )
    problems.install(api)
    # The middleware that is added last is the outermost.
    api.add_middleware(Gate, keys=service.keys, tenants=service.tenants, clock=clock)
    api.add_middleware(Envelope)
    api.add_middleware(Measured, observe=observe)
    api.add_middleware(Heads)
    for router, needs in ROUTERS:
        api.include_router(router, dependencies=[] if needs is None else [Depends(needs), Depends(check_query)])
    return api
