"""Streams of the events of jobs and runs, as server-sent events."""

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from nst_core.client.resources.base import MAX_ID
from scheduler.api.dependencies import EventsDep, RunsDep, ServiceDep, TenantDep
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.parameters import JobId, RunId
from scheduler.domain.events import Event, payload
from scheduler.events.hub import EventHub, Stream

jobs_router = APIRouter(route_class=JsonRoute, tags=["events"])
runs_router = APIRouter(route_class=JsonRoute, tags=["events"])

#: Seconds between heartbeats, which detect that a client has disconnected.
_LOOK_S = 1.0
_RETRY_MS = 3000
_EXAMPLE = (
    "retry: 3000\n\n"
    "id: 17\n"
    "event: job.completed\n"
    'data: {"type": "job.completed", "timestamp": "2026-11-22T12:00:00.000Z", "data": {"id": "job_0123456789ab", '
    '"status": "succeeded", "counts": {"total": 2, "pending": 0, "running": 0, "succeeded": 2, "failed": 0, '
    '"cancelled": 0}, "error": null}}\n\n'
)
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The events, each once and in order; the stream ends after the last one.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
    },
    204: {"description": "There are no more events: do not reconnect."},
}


def last_event_id(
    header: Annotated[
        int | None,
        Header(
            alias="Last-Event-ID",
            ge=0,
            le=MAX_ID,
            description="The id of the last event that you received; 0 for none.",
        ),
    ] = None,
    query: Annotated[
        int | None,
        Query(
            alias="last_event_id",
            ge=0,
            le=MAX_ID,
            description="The same as the header Last-Event-ID, for clients that cannot send headers.",
        ),
    ] = None,
) -> int:
    """Return the last event that the client has received; the header has precedence over the query."""
    return header if header is not None else query or 0


LastEventId = Annotated[int, Depends(last_event_id)]


class EventStream(StreamingResponse):
    """A stream that ends after the subject's last event, or when the client disconnects or the server stops."""

    media_type = "text/event-stream"

    def __init__(self, hub: EventHub, stream: Stream, request: Request) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(_frames(hub, stream, request), headers=headers)
        self._hub = hub
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Close it even if the client disconnected before the first frame, to free its place.
            self._hub.close(self._stream)


@jobs_router.get("/v1/jobs/{job_id}/events", status_code=200, responses=_RESPONSES, response_class=EventStream)
async def stream_job_events(
    job_id: JobId, request: Request, service: ServiceDep, hub: EventsDep, tenant: TenantDep, after: LastEventId
) -> Response:
    """Stream a job's events from the beginning, or after the last event that you received."""
    job = await run_in_threadpool(service.job, tenant, job_id)
    return await _answer(hub, request, tenant, job.id, after=after, over=job.status.is_terminal)


@runs_router.get("/v1/runs/{run_id}/events", status_code=200, responses=_RESPONSES, response_class=EventStream)
async def stream_run_events(
    run_id: RunId, request: Request, runs: RunsDep, hub: EventsDep, tenant: TenantDep, after: LastEventId
) -> Response:
    """Stream a training's events from the beginning, or after the last event that you received."""
    run = (await run_in_threadpool(runs.get, tenant, run_id)).run
    return await _answer(hub, request, tenant, run.id, after=after, over=run.status.is_terminal)


async def _answer(hub: EventHub, request: Request, tenant: str, subject: str, *, after: int, over: bool) -> Response:
    stream = await run_in_threadpool(hub.open, tenant, subject, after=after, over=over)
    # By the standard, an EventSource reconnects unless the status is 204.
    return Response(status_code=204) if stream is None else EventStream(hub, stream, request)


async def _frames(hub: EventHub, stream: Stream, request: Request) -> AsyncIterator[bytes]:
    yield f"retry: {_RETRY_MS}\n\n".encode()
    silent_s, look_s = 0.0, min(_LOOK_S, hub.heartbeat_s)
    while not hub.is_broken(stream):
        found = await hub.next(stream, timeout_s=look_s)
        for event in found:
            yield frame(event)
        if found and found[-1].type.is_terminal and await hub.is_through(stream):
            return
        if await request.is_disconnected():
            return
        silent_s = 0.0 if found else silent_s + look_s
        if silent_s >= hub.heartbeat_s:
            silent_s = 0.0
            yield b": still here\n\n"


def frame(event: Event) -> bytes:
    """Return an event in the format of a stream; its JSON is ASCII and has no line breaks."""
    data = json.dumps(payload(event.type, event.created_at, event.data))
    return f"id: {event.id}\nevent: {event.type}\ndata: {data}\n\n".encode()
