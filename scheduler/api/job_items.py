"""Routes of a job's items and results."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import StreamingResponse

from nst_core.protocol import ItemStatus
from scheduler.api.dependencies import ServiceDep, TenantDep
from scheduler.api.job_schemas import files
from scheduler.api.problems import answers
from scheduler.api.schemas import ItemPage, ItemView
from scheduler.domain import ERRORS_NAME, RESULTS_NAME
from scheduler.result_zip import MAX_IMAGES

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$", description="The job's id, or the client's id of it.")]
Limit = Annotated[int, Query(ge=1, le=1000)]
#: What databases count to.
MAX_ID = 2**63 - 1
_MEDIA_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_NO_SNIFF = {"X-Content-Type-Options": "nosniff"}


@router.get("/{job_id}/items")
def list_items(
    job_id: JobId,
    service: ServiceDep,
    tenant: TenantDep,
    limit: Limit = 100,
    after_id: Annotated[int, Query(ge=-1, le=MAX_ID)] = -1,
    status: ItemStatus | None = None,
    code: Annotated[str | None, Query(pattern=r"^[a-z0-9_]{1,64}$", description="Of the error.")] = None,
    style: Annotated[str | None, Query(pattern=r"^[\w.-]{1,64}$")] = None,
) -> ItemPage:
    """List a job's items in order."""
    found = service.items(tenant, job_id, limit=limit + 1, after=after_id, status=status, code=code, style=style)
    data = [ItemView.of(item) for item in found[:limit]]
    return ItemPage(
        data=data,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
        has_more=len(found) > limit,
    )


@router.get(
    "/{job_id}/items/{item_id}/output",
    response_class=StreamingResponse,
    responses=answers(409, 502) | files(*_MEDIA_TYPES.values()),
)
def get_output(
    job_id: JobId, item_id: Annotated[int, Path(ge=0, le=MAX_ID)], service: ServiceDep, tenant: TenantDep
) -> StreamingResponse:
    """Return the image of a succeeded item."""
    item, data = service.output(tenant, job_id, item_id)
    return StreamingResponse(
        data,
        media_type=_MEDIA_TYPES[item.output.rpartition(".")[2]],
        headers=_NO_SNIFF | {"Content-Length": str(item.bytes), "ETag": f'"{item.sha256}"'},
    )


@router.get(
    "/{job_id}/items/{item_id}/preview", response_class=StreamingResponse, responses=answers(502) | files("image/jpeg")
)
def get_preview(
    job_id: JobId, item_id: Annotated[int, Path(ge=0, le=MAX_ID)], service: ServiceDep, tenant: TenantDep
) -> StreamingResponse:
    """Return how an item looks that is being optimised."""
    return StreamingResponse(
        service.preview(tenant, job_id, item_id),
        media_type="image/jpeg",
        headers=_NO_SNIFF | {"Cache-Control": "no-store"},
    )


@router.get("/{job_id}/results", response_class=StreamingResponse, responses=answers(409) | files("application/jsonl"))
def get_results(job_id: JobId, service: ServiceDep, tenant: TenantDep) -> StreamingResponse:
    """Return results.jsonl of a finished job."""
    return StreamingResponse(service.report(tenant, job_id, RESULTS_NAME), media_type="application/jsonl")


@router.get("/{job_id}/errors", response_class=StreamingResponse, responses=answers(409) | files("application/jsonl"))
def get_errors(job_id: JobId, service: ServiceDep, tenant: TenantDep) -> StreamingResponse:
    """Return errors.jsonl of a finished job."""
    return StreamingResponse(service.report(tenant, job_id, ERRORS_NAME), media_type="application/jsonl")


@router.get(
    "/{job_id}/results.zip", response_class=StreamingResponse, responses=answers(409, 502) | files("application/zip")
)
def get_zip(
    job_id: JobId,
    service: ServiceDep,
    tenant: TenantDep,
    status: Annotated[Literal["succeeded"], Query(description="Of the images.")] = "succeeded",
    limit: Annotated[int, Query(ge=1, le=MAX_IMAGES, description="Images in the file.")] = MAX_IMAGES,
    after_id: Annotated[int, Query(ge=-1, le=MAX_ID)] = -1,
) -> StreamingResponse:
    """Return the images of a finished job and its reports as a zip file; `Link` names the next part of a long job."""
    part = service.zip(tenant, job_id, after=after_id, limit=limit)
    headers = _NO_SNIFF | {"Content-Disposition": f'attachment; filename="{job_id}.zip"'}
    if part.next_after is not None:
        more = f"/v1/jobs/{job_id}/results.zip?status={status}&limit={limit}&after_id={part.next_after}"
        headers["Link"] = f'<{more}>; rel="next"'
    return StreamingResponse(part.data, media_type="application/zip", headers=headers)
