"""The FastAPI app, put together from its routers."""

from fastapi import FastAPI

from nst_core import __version__
from nst_core.blobs import BlobStore
from nst_core.broker import Broker
from scheduler.api import health, jobs, presets, problems, runs, styles, uploads
from scheduler.api.dependencies import ApiState
from scheduler.service import Service
from scheduler.store.database import Database


def make_api(
    service: Service, *, database: Database, broker: Broker, blobs: BlobStore, max_upload_bytes: int
) -> FastAPI:
    """Return the app over a service."""
    api = FastAPI(title="nst", version=__version__, summary="Neural style transfer in bulk", docs_url="/docs")
    api.state.nst = ApiState(
        service=service, database=database, broker=broker, blobs=blobs, max_upload_bytes=max_upload_bytes
    )
    problems.install(api)
    for router in (health.router, jobs.router, presets.router, runs.router, styles.router, uploads.router):
        api.include_router(router)
    return api
