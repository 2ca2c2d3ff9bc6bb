"""Routes of runs, the trainings of styles."""

from functools import partial
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from nst_core.client.resources.base import ID_PATTERN
from nst_core.client.resources.runs import ExtendRequest, ForkRequest, Run, RunPage, RunStatus, SamplePage
from nst_core.client.resources.styles import Preset, PresetPage
from nst_core.styles import families
from nst_core.training import presets
from scheduler.api import threads
from scheduler.api.dependencies import RunsDep, TenantDep
from scheduler.api.examples import files
from scheduler.api.forms import OPENAPI, read_train_request
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import collect, cut
from scheduler.api.parameters import AfterFile, AfterId, IdempotencyKey, Limit, RunId
from scheduler.api.problems import answers
from scheduler.api.resources import run_of, sample_of
from scheduler.runs.paintings import PAINTING_TYPES

router = APIRouter(route_class=JsonRoute, tags=["runs"])

SampleFile = Annotated[str, Path(description="The sample's file name, which is its id.")]
_NO_SNIFF = {"X-Content-Type-Options": "nosniff"}
#: For pictures that change during the run.
_FRESH = _NO_SNIFF | {"Cache-Control": "no-store"}


def families_of(preset: presets.TrainPreset) -> tuple[str, ...]:
    """Return the families whose styles a preset trains; one that names its family begins with a guess."""
    if preset.name not in presets.OF_FAMILIES:
        return ()
    return tuple(name for name, family in families().items() if preset.family is None or family.predictor is not None)


@router.get("/v1/training-presets", tags=["presets"])
def list_training_presets(tenant: TenantDep, limit: Limit = 100, after_id: AfterId = None) -> PresetPage:
    """List the presets of trainings."""
    found = [
        Preset(
            name=preset.name,
            summary=preset.summary,
            config=preset.config.to_dict(),
            families=families_of(preset),
        )
        for preset in presets.presets().values()
    ]
    return cut(PresetPage, found, limit=limit, after_id=after_id)


@router.post("/v1/styles", status_code=202, openapi_extra=OPENAPI, responses=answers(409, 422, 502))
async def train_style(
    request: Request, runs: RunsDep, tenant: TenantDep, response: Response, idempotency_key: IdempotencyKey = None
) -> Run:
    """Train a style on a painting.

    Send JSON with the painting's address, or a form with the JSON `request` and the file.
    """
    body, painting = await read_train_request(request)
    submit = partial(runs.submit, tenant, body, painting=painting, idempotency_key=idempotency_key)
    details, new = await threads.send(submit)
    return _accepted(run_of(details), new, response)


@router.get("/v1/runs")
def list_runs(
    runs: RunsDep,
    tenant: TenantDep,
    limit: Limit = 20,
    after_id: AfterId = None,
    status: Annotated[RunStatus | None, Query(description="Only runs with this status.")] = None,
    name: Annotated[str | None, Query(pattern=ID_PATTERN, description="Only runs of this style.")] = None,
) -> RunPage:
    """List runs, newest first."""
    return collect(
        RunPage,
        lambda most, after: runs.all(tenant, limit=most, after_id=after, status=status, name=name),
        run_of,
        limit=limit,
        after_id=after_id,
    )


@router.get("/v1/runs/{run_id}")
def get_run(run_id: RunId, runs: RunsDep, tenant: TenantDep) -> Run:
    """Return a run."""
    return run_of(runs.get(tenant, run_id))


@router.delete("/v1/runs/{run_id}", status_code=204, responses=answers(409))
def delete_run(run_id: RunId, runs: RunsDep, tenant: TenantDep) -> None:
    """Delete a run that has ended, with its checkpoints, samples and losses; styles from it are kept.

    Returns 409 `unfinished` if the run has not ended.
    """
    runs.delete(tenant, run_id)


@router.post("/v1/runs/{run_id}/pause", status_code=202, responses=answers(409))
def pause_run(run_id: RunId, runs: RunsDep, tenant: TenantDep) -> Run:
    """Pause a run after its current step."""
    return run_of(runs.pause(tenant, run_id))


@router.post("/v1/runs/{run_id}/resume", status_code=202, responses=answers(409))
def resume_run(run_id: RunId, runs: RunsDep, tenant: TenantDep) -> Run:
    """Resume a paused, failed or cancelled run from its last checkpoint."""
    return run_of(runs.resume(tenant, run_id))


@router.post("/v1/runs/{run_id}/cancel", status_code=202, responses=answers(409))
def cancel_run(run_id: RunId, runs: RunsDep, tenant: TenantDep) -> Run:
    """Cancel a run after its current step. Its last checkpoint is kept."""
    return run_of(runs.cancel(tenant, run_id))


@router.post("/v1/runs/{run_id}/publish", status_code=202, responses=answers(409, 502))
def publish_run(run_id: RunId, runs: RunsDep, tenant: TenantDep) -> Run:
    """Publish the style from a run: this version becomes the style's current version."""
    return run_of(runs.publish(tenant, run_id))


@router.post("/v1/runs/{run_id}/extend", status_code=202, responses=answers(409))
def extend_run(run_id: RunId, body: ExtendRequest, runs: RunsDep, tenant: TenantDep) -> Run:
    """Continue a run to a larger number of steps, even after its end."""
    return run_of(runs.extend(tenant, run_id, body.steps))


@router.post("/v1/runs/{run_id}/fork", status_code=202, responses=answers(409, 502))
def fork_run(
    run_id: RunId,
    body: ForkRequest,
    runs: RunsDep,
    tenant: TenantDep,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> Run:
    """Start a new run from a checkpoint of this one, and return it."""
    details, new = runs.fork(tenant, run_id, body, idempotency_key=idempotency_key)
    return _accepted(run_of(details), new, response)


@router.get(
    "/v1/runs/{run_id}/losses.csv", responses=answers(409, 502) | files("text/csv"), response_class=StreamingResponse
)
def get_losses(run_id: RunId, runs: RunsDep, tenant: TenantDep) -> StreamingResponse:
    """Return the losses as CSV, one line per step."""
    lines = runs.files.losses(runs.get(tenant, run_id).run)
    return StreamingResponse(lines, media_type="text/csv", headers=_FRESH)


@router.get("/v1/runs/{run_id}/losses.png", responses=answers(409, 502) | files("image/png"), response_class=Response)
def get_curve(run_id: RunId, runs: RunsDep, tenant: TenantDep) -> Response:
    """Return the losses as a picture."""
    data = runs.files.curve(runs.get(tenant, run_id).run)
    return Response(data, media_type="image/png", headers=_FRESH)


@router.get("/v1/runs/{run_id}/samples", responses=answers(409, 502))
def list_samples(
    run_id: RunId, runs: RunsDep, tenant: TenantDep, limit: Limit = 1000, after_id: AfterFile = None
) -> SamplePage:
    """List the sample photos that the network stylized during the training."""
    found = runs.files.samples(runs.get(tenant, run_id).run)
    place = f"/v1/runs/{run_id}/samples/"
    entries = [sample_of(sample, href=place + quote(sample.file, safe="")) for sample in found]
    return cut(SamplePage, entries, limit=limit, after_id=after_id)


@router.get(
    "/v1/runs/{run_id}/samples/{file}",
    responses=answers(409, 502) | files("image/jpeg"),
    response_class=StreamingResponse,
)
def get_sample(run_id: RunId, file: SampleFile, runs: RunsDep, tenant: TenantDep) -> StreamingResponse:
    """Return a sample."""
    data = runs.files.sample(runs.get(tenant, run_id).run, file)
    return StreamingResponse(data, media_type="image/jpeg", headers=_FRESH)


@router.get(
    "/v1/runs/{run_id}/sheet.jpg", responses=answers(409, 502) | files("image/jpeg"), response_class=StreamingResponse
)
def get_sheet(run_id: RunId, runs: RunsDep, tenant: TenantDep) -> StreamingResponse:
    """Return the preview sheet of a run that has produced a style."""
    data = runs.files.sheet(runs.get(tenant, run_id).run)
    return StreamingResponse(data, media_type="image/jpeg", headers=_FRESH)


@router.get(
    "/v1/runs/{run_id}/painting", responses=answers(409, 502) | files(*PAINTING_TYPES), response_class=StreamingResponse
)
def get_painting(run_id: RunId, runs: RunsDep, tenant: TenantDep) -> StreamingResponse:
    """Return the painting as it was submitted."""
    media_type, data = runs.files.painting(runs.get(tenant, run_id).run)
    return StreamingResponse(data, media_type=media_type, headers=_NO_SNIFF)


def _accepted(run: Run, new: bool, response: Response) -> Run:
    response.headers["Location"] = f"/v1/runs/{run.id}"
    if not new:
        response.headers["Idempotent-Replayed"] = "true"
    return run
