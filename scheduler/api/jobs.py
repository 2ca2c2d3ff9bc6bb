"""Routes of jobs and their items."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import StreamingResponse

from nst_core.protocol import ItemStatus
from scheduler.api.dependencies import ServiceDep, TenantDep
from scheduler.api.problems import answers
from scheduler.api.schemas import ItemPage, ItemView, JobBody, JobPage, JobView
from scheduler.domain import ERRORS_NAME, RESULTS_NAME

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

Limit = Annotated[int, Query(ge=1, le=1000)]
JobId = Annotated[str, Path(pattern=r"^[\w.-]{1,64}$")]
#: What databases count to.
MAX_ID = 2**63 - 1
_MEDIA_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


@router.post("", status_code=202)
def submit_job(
    body: JobBody,
    service: ServiceDep,
    tenant: TenantDep,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> JobView:
    """Submit a bulk stylization job."""
    job, new = service.submit(tenant, body.to_request(), idempotency_key=idempotency_key)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if not new:
        response.headers["Idempotent-Replayed"] = "true"
    return JobView.of(job)


@router.get("")
def list_jobs(
    service: ServiceDep,
    tenant: TenantDep,
    limit: Limit = 20,
    after_id: Annotated[str | None, Query(pattern=r"^[\w.-]{1,64}$")] = None,
) -> JobPage:
    """List jobs, newest first."""
    found = service.jobs(tenant, limit=limit + 1, after_id=after_id)
    data = [JobView.of(job) for job in found[:limit]]
    return JobPage(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > limit,
    )


@router.get("/{job_id}")
def get_job(job_id: JobId, service: ServiceDep, tenant: TenantDep) -> JobView:
    """Return a job."""
    return JobView.of(service.job(tenant, job_id))


@router.get("/{job_id}/items")
def list_items(
    job_id: JobId,
    service: ServiceDep,
    tenant: TenantDep,
    limit: Limit = 100,
    after_id: Annotated[int, Query(ge=-1, le=MAX_ID)] = -1,
    status: ItemStatus | None = None,
) -> ItemPage:
    """List a job's items in order."""
    found = service.items(tenant, job_id, limit=limit + 1, after=after_id, status=status)
    data = [ItemView.of(item) for item in found[:limit]]
    return ItemPage(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > limit,
    )


@router.post("/{job_id}/cancel", status_code=202)
def cancel_job(job_id: JobId, service: ServiceDep, tenant: TenantDep) -> JobView:
    """Stop a job; finished images stay."""
    return JobView.of(service.cancel(tenant, job_id))


@router.get("/{job_id}/items/{item_id}/output", response_class=StreamingResponse, responses=answers(409, 502))
def get_output(
    job_id: JobId, item_id: Annotated[int, Path(ge=0, le=MAX_ID)], service: ServiceDep, tenant: TenantDep
) -> StreamingResponse:
    """Return the image of a succeeded item."""
    item, data = service.output(tenant, job_id, item_id)
    return StreamingResponse(
        data,
        media_type=_MEDIA_TYPES[item.output.rpartition(".")[2]],
        headers={"X-Content-Type-Options": "nosniff", "Content-Length": str(item.bytes), "ETag": f'"{item.sha256}"'},
    )


@router.get("/{job_id}/items/{item_id}/preview", response_class=StreamingResponse, responses=answers(502))
def get_preview(
    job_id: JobId, item_id: Annotated[int, Path(ge=0, le=MAX_ID)], service: ServiceDep, tenant: TenantDep
) -> StreamingResponse:
    """Return how an item looks that is being optimised."""
    return StreamingResponse(
        service.preview(tenant, job_id, item_id),
        media_type="image/jpeg",
        headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"},
    )


@router.get("/{job_id}/results", response_class=StreamingResponse, responses=answers(502))
def get_results(job_id: JobId, service: ServiceDep, tenant: TenantDep) -> StreamingResponse:
    """Return results.jsonl of a finished job."""
    return StreamingResponse(service.report(tenant, job_id, RESULTS_NAME), media_type="application/jsonl")


@router.get("/{job_id}/errors", response_class=StreamingResponse, responses=answers(502))
def get_errors(job_id: JobId, service: ServiceDep, tenant: TenantDep) -> StreamingResponse:
    """Return errors.jsonl of a finished job."""
    return StreamingResponse(service.report(tenant, job_id, ERRORS_NAME), media_type="application/jsonl")
