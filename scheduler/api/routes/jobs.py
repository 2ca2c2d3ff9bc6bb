"""Routes of jobs; `job_items` has the routes of their items and results."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import AfterValidator
from starlette.concurrency import run_in_threadpool

from nst_core.client.resources.base import Moment
from nst_core.client.resources.jobs import (
    Check,
    InputEntry,
    InputPage,
    Job,
    JobPage,
    JobRequest,
    JobStatus,
    RetryRequest,
)
from nst_core.client.resources.methods import MethodName
from scheduler.access.admission import Budget
from scheduler.api import threads
from scheduler.api.dependencies import ServiceDep, TenantDep
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import collect
from scheduler.api.parameters import AfterId, AfterItem, IdempotencyKey, JobId, Limit
from scheduler.api.problems import answers
from scheduler.api.queries import LABEL
from scheduler.api.resources import job_of
from scheduler.api.waiting import wait_for_end
from scheduler.domain.addresses import storable
from scheduler.domain.errors import RequestInvalidError
from scheduler.jobs.methods import all_methods
from scheduler.jobs.service import JobService
from scheduler.store.jobs import JobFilter

router = APIRouter(route_class=JsonRoute, prefix="/v1/jobs", tags=["jobs"])

_MAX_LABELS = 16
#: The most dry runs of a tenant at once, and of all. Each may read the storage for seconds.
DRY_RUNS_OF_ONE, _MOST_DRY_RUNS = 8, 32
_DRY_RUNS = Budget("dry runs", most=_MOST_DRY_RUNS, most_of_one=DRY_RUNS_OF_ONE)
Validate = Annotated[bool, Query(description="Only show what the job would do; do not submit it.")]
Objects = Annotated[
    bool, Query(description="With `validate`: if false, do not check that the photos are in the storage.")
]
Prefer = Annotated[
    str | None,
    Header(max_length=1000, description="wait=N: respond when the job has ended, or after N seconds (at most 60)."),
]


def _check_method(name: str) -> str:
    if name not in all_methods():
        raise ValueError(f"known methods: {', '.join(all_methods())}")
    return name


_KnownMethod = Annotated[MethodName, AfterValidator(_check_method)]


@router.post(
    "",
    status_code=202,
    responses=answers(409) | {200: {"model": Check, "description": "With `validate`: what the job would do."}},
)
async def submit_job(
    body: JobRequest,
    service: ServiceDep,
    tenant: TenantDep,
    request: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
    validate: Validate = False,
    objects: Objects = True,
    prefer: Prefer = None,
) -> Job | Check:
    """Submit a bulk stylization job."""
    if validate:
        response.status_code = 200
        return await _check(service, tenant, body, objects)
    submit = partial(service.submit, tenant, body, idempotency_key=idempotency_key)
    job, new = await run_in_threadpool(submit)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if not new:
        response.headers["Idempotent-Replayed"] = "true"
    look = partial(service.job, tenant, job.id)
    return job_of(await wait_for_end(job, look, request=request, response=response, prefer=prefer or ""))


async def _check(service: JobService, tenant: str, body: JobRequest, objects: bool) -> Check:
    _DRY_RUNS.add(tenant, 1)
    try:
        check: Check = await threads.send(partial(service.check, tenant, body, objects=objects))
        return check
    finally:
        _DRY_RUNS.remove(tenant, 1)


@router.put(
    "/{job_id}",
    status_code=202,
    responses=answers(409)
    | {
        200: {
            "model": Job | Check,
            "description": "The job from an earlier request with this id or, with `validate`, what the job would do.",
        }
    },
)
async def put_job(
    job_id: JobId,
    body: JobRequest,
    service: ServiceDep,
    tenant: TenantDep,
    request: Request,
    response: Response,
    validate: Validate = False,
    objects: Objects = True,
    prefer: Prefer = None,
) -> Job | Check:
    """Submit a job with an id that you choose, which must not start with `job_`.

    You can safely repeat the request.
    """
    if validate:
        response.status_code = 200
        return await _check(service, tenant, body, objects)
    job, new = await run_in_threadpool(service.put, tenant, job_id, body)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    if not new:
        response.status_code = 200
    look = partial(service.job, tenant, job.id)
    return job_of(await wait_for_end(job, look, request=request, response=response, prefer=prefer or ""))


@router.get("")
def list_jobs(
    service: ServiceDep,
    tenant: TenantDep,
    request: Request,
    limit: Limit = 20,
    after_id: AfterId = None,
    status: Annotated[JobStatus | None, Query(description="Only jobs with this status.")] = None,
    method: Annotated[_KnownMethod | None, Query(description="Only jobs with this method.")] = None,
    created_after: Annotated[
        Moment | None, Query(description="Only jobs created at or after this time (RFC 3339).")
    ] = None,
    created_before: Annotated[
        Moment | None, Query(description="Only jobs created before this time (RFC 3339).")
    ] = None,
) -> JobPage:
    """List jobs, newest first. `metadata.KEY=VALUE` filters by metadata."""
    only = JobFilter(
        status=status,
        method=method,
        labels=_labels(request),
        created_after=None if created_after is None else created_after.timestamp(),
        created_before=None if created_before is None else created_before.timestamp(),
    )
    return collect(
        JobPage,
        lambda most, after: service.jobs(tenant, limit=most, after_id=after, only=only),
        job_of,
        limit=limit,
        after_id=after_id,
    )


@router.get("/{job_id}")
async def get_job(
    job_id: JobId, service: ServiceDep, tenant: TenantDep, request: Request, response: Response, prefer: Prefer = None
) -> Job:
    """Return a job."""
    look = partial(service.job, tenant, job_id)
    job = await run_in_threadpool(look)
    return job_of(await wait_for_end(job, look, request=request, response=response, prefer=prefer or ""))


@router.get("/{job_id}/input")
def list_inputs(
    job_id: JobId, service: ServiceDep, tenant: TenantDep, limit: Limit = 100, after_id: AfterItem = -1
) -> InputPage:
    """List the addresses of a job's `input.uris` in order."""
    uris = service.inputs(tenant, job_id)
    return collect(
        InputPage,
        lambda most, after: list(enumerate(uris))[after + 1 : after + 1 + most],
        lambda each: InputEntry(id=each[0], uri=each[1]),
        limit=limit,
        after_id=after_id,
    )


@router.delete("/{job_id}", status_code=204, responses=answers(409))
def delete_job(
    job_id: JobId,
    service: ServiceDep,
    tenant: TenantDep,
    results: Annotated[bool, Query(description="Also delete its images and reports.")] = False,
) -> None:
    """Delete a job that has ended: the job immediately, and its files in the storage within minutes.

    Its images stay unless `results` is true. Returns 409 `unfinished` if the job has not ended.
    """
    service.delete(tenant, job_id, results=results)


@router.post("/{job_id}/cancel", status_code=202)
def cancel_job(job_id: JobId, service: ServiceDep, tenant: TenantDep) -> Job:
    """Cancel a job. Finished images are kept."""
    return job_of(service.cancel(tenant, job_id))


@router.post("/{job_id}/pause", status_code=202, responses=answers(409))
def pause_job(job_id: JobId, service: ServiceDep, tenant: TenantDep) -> Job:
    """Pause a job. Workers finish the images that they have started."""
    return job_of(service.pause(tenant, job_id))


@router.post("/{job_id}/resume", status_code=202, responses=answers(409))
def resume_job(job_id: JobId, service: ServiceDep, tenant: TenantDep) -> Job:
    """Resume a paused job."""
    return job_of(service.resume(tenant, job_id))


@router.post("/{job_id}/retry", status_code=202, responses=answers(409))
def retry_job(
    job_id: JobId,
    service: ServiceDep,
    tenant: TenantDep,
    response: Response,
    body: RetryRequest | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Retry the failed items of an ended job. Its reports are written again when it ends."""
    body = body or RetryRequest()
    job, new = service.retry(
        tenant, job_id, codes=body.codes, cancelled=body.cancelled, idempotency_key=idempotency_key
    )
    if not new:
        response.headers["Idempotent-Replayed"] = "true"
    return job_of(job)


def _labels(request: Request) -> dict[str, str]:
    """Return the metadata by which a list is filtered."""
    given = [(name, value) for name, value in request.query_params.multi_items() if name.startswith(LABEL)]
    labels: dict[str, str] = {}
    for name, value in given:
        key = name.removeprefix(LABEL)
        if not key or not storable(key) or not storable(value) or key in labels or len(given) > _MAX_LABELS:
            message = f"{LABEL}KEY=VALUE may be given for at most {_MAX_LABELS} keys, once per key, as plain text."
            raise RequestInvalidError(message, pointer=f"/{name}"[:80])
        labels[key] = value
    return labels
