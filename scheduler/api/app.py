"""The FastAPI app, put together from its routers."""

import time

from fastapi import FastAPI

from nst_core import __version__
from nst_core.blobs import BlobStore
from nst_core.broker import Broker
from scheduler.api import events, health, jobs, presets, problems, runs, styles, uploads
from scheduler.api import webhooks as webhook_routes
from scheduler.api.dependencies import ApiState
from scheduler.event_hub import EventHub
from scheduler.service import Service
from scheduler.store.database import Database
from scheduler.webhooks.address import Rules
from scheduler.webhooks.service import WebhookService


def make_api(
    service: Service,
    *,
    database: Database,
    broker: Broker,
    blobs: BlobStore,
    max_upload_bytes: int,
    hub: EventHub | None = None,
    webhooks: WebhookService | None = None,
) -> FastAPI:
    """Return the app over a service; by default it has any number of streams of events, and no webhooks."""
    api = FastAPI(title="nst", version=__version__, summary="Neural style transfer in bulk", docs_url="/docs")
    api.state.nst = ApiState(
        service=service,
        database=database,
        broker=broker,
        blobs=blobs,
        max_upload_bytes=max_upload_bytes,
        events=hub or EventHub(database, max_streams=lambda tenant: None),
        webhooks=webhooks or WebhookService(database, vault=None, rules=Rules(), clock=time.time),
    )
    problems.install(api)
    for module in (events, health, jobs, presets, runs, styles, uploads, webhook_routes):
        api.include_router(module.router)
    return api
