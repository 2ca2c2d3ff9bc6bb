"""The FastAPI app, put together from its routers."""

from fastapi import FastAPI

from nst_core import __version__
from nst_core.blobs import BlobStore
from nst_core.broker import Broker
from scheduler.api import events, health, jobs, presets, problems, runs, styles, uploads
from scheduler.api.dependencies import ApiState
from scheduler.event_hub import EventHub
from scheduler.service import Service
from scheduler.store.database import Database


def make_api(
    service: Service,
    *,
    database: Database,
    broker: Broker,
    blobs: BlobStore,
    max_upload_bytes: int,
    hub: EventHub | None = None,
) -> FastAPI:
    """Return the app over a service; `hub` hands out events, by default to any number of streams."""
    api = FastAPI(title="nst", version=__version__, summary="Neural style transfer in bulk", docs_url="/docs")
    api.state.nst = ApiState(
        service=service,
        database=database,
        broker=broker,
        blobs=blobs,
        max_upload_bytes=max_upload_bytes,
        events=hub or EventHub(database, max_streams=lambda tenant: None),
    )
    problems.install(api)
    for module in (events, health, jobs, presets, runs, styles, uploads):
        api.include_router(module.router)
    return api
