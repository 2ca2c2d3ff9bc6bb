"""Routes of a job's items and results."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from nst_core.client.resources.base import CODE_PATTERN
from nst_core.client.resources.items import ItemPage, ItemStatus
from nst_core.formats import RESULT_TYPES
from scheduler.api.dependencies import ServiceDep, TenantDep
from scheduler.api.examples import ERRORS, RESULTS, files
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import collect
from scheduler.api.parameters import AfterItem, ItemId, JobId, Limit
from scheduler.api.problems import answers
from scheduler.api.resources import item_of
from scheduler.domain.jobs import ERRORS_NAME, RESULTS_NAME
from scheduler.jobs.result_zip import MAX_IMAGES

router = APIRouter(route_class=JsonRoute, prefix="/v1/jobs", tags=["jobs"])

#: Of a blend with versions. Paintings are named after their files, which may have any characters.
_MAX_STYLE = 1000
_NO_SNIFF = {"X-Content-Type-Options": "nosniff"}


@router.get("/{job_id}/items")
def list_items(
    job_id: JobId,
    service: ServiceDep,
    tenant: TenantDep,
    limit: Limit = 100,
    after_id: AfterItem = -1,
    status: Annotated[ItemStatus | None, Query(description="Only items with this status.")] = None,
    code: Annotated[
        str | None, Query(pattern=CODE_PATTERN, description="Only items that failed with this code.")
    ] = None,
    style: Annotated[
        str | None, Query(max_length=_MAX_STYLE, description="Only items of this style, blend or painting.")
    ] = None,
) -> ItemPage:
    """List a job's items in order."""
    return collect(
        ItemPage,
        lambda most, after: service.items(
            tenant, job_id, limit=most, after=after, status=status, code=code, style=style
        ),
        item_of,
        limit=limit,
        after_id=after_id,
    )


@router.get(
    "/{job_id}/items/{item_id}/output",
    response_class=StreamingResponse,
    responses=answers(409, 502) | files(*dict.fromkeys(RESULT_TYPES.values())),
)
def get_output(job_id: JobId, item_id: ItemId, service: ServiceDep, tenant: TenantDep) -> StreamingResponse:
    """Return the image of a succeeded item."""
    item, data = service.output(tenant, job_id, item_id)
    return StreamingResponse(
        data,
        media_type=RESULT_TYPES[item.output.rpartition(".")[2]],
        headers=_NO_SNIFF | {"Content-Length": str(item.bytes), "ETag": f'"{item.sha256}"'},
    )


@router.get(
    "/{job_id}/items/{item_id}/preview", response_class=StreamingResponse, responses=answers(502) | files("image/jpeg")
)
def get_preview(job_id: JobId, item_id: ItemId, service: ServiceDep, tenant: TenantDep) -> StreamingResponse:
    """Return the latest preview of an item that is being optimised."""
    return StreamingResponse(
        service.preview(tenant, job_id, item_id),
        media_type="image/jpeg",
        headers=_NO_SNIFF | {"Cache-Control": "no-store"},
    )


@router.get(
    "/{job_id}/results",
    response_class=StreamingResponse,
    responses=answers(409) | files("application/jsonl", example=RESULTS),
)
def get_results(job_id: JobId, service: ServiceDep, tenant: TenantDep) -> StreamingResponse:
    """Return the results.jsonl of a finished job.

    If the job has regions, each line has `regions` too: the `style`, its `style_version` and the `mask` of each.
    """
    return StreamingResponse(service.report(tenant, job_id, RESULTS_NAME), media_type="application/jsonl")


@router.get(
    "/{job_id}/errors",
    response_class=StreamingResponse,
    responses=answers(409) | files("application/jsonl", example=ERRORS),
)
def get_errors(job_id: JobId, service: ServiceDep, tenant: TenantDep) -> StreamingResponse:
    """Return the errors.jsonl of a finished job."""
    return StreamingResponse(service.report(tenant, job_id, ERRORS_NAME), media_type="application/jsonl")


@router.get(
    "/{job_id}/results.zip", response_class=StreamingResponse, responses=answers(409, 502) | files("application/zip")
)
def get_zip(
    job_id: JobId,
    service: ServiceDep,
    tenant: TenantDep,
    status: Annotated[Literal["succeeded"], Query(description="The status of the images.")] = "succeeded",
    limit: Annotated[
        int, Query(ge=1, le=MAX_IMAGES, description="The maximum number of images in the file.")
    ] = MAX_IMAGES,
    after_id: AfterItem = -1,
) -> StreamingResponse:
    """Return the images and reports of a finished job as a zip file; for a long job, `Link` has the next part."""
    part = service.zip(tenant, job_id, after=after_id, limit=limit)
    headers = _NO_SNIFF | {"Content-Disposition": f'attachment; filename="{job_id}.zip"'}
    if part.next_after is not None:
        more = f"/v1/jobs/{job_id}/results.zip?status={status}&limit={limit}&after_id={part.next_after}"
        headers["Link"] = f'<{more}>; rel="next"'
    return StreamingResponse(part.data, media_type="application/zip", headers=headers)
