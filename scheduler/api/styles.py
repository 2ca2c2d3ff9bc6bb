"""Routes of styles and their versions."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse

from scheduler.api.dependencies import ServiceDep, TenantDep
from scheduler.api.job_items import Limit
from scheduler.api.problems import answers
from scheduler.api.schemas import StyleBody, StylePage, StyleView
from scheduler.api.style_schemas import VERSION_PATTERN, PublishBody, VersionPage, VersionView
from scheduler.errors import RequestInvalidError

router = APIRouter(prefix="/v1/styles", tags=["styles"])

Name = Annotated[str, Path(pattern=r"^[\w.-]{1,64}$")]
#: Stricter than for look-ups: names become parts of results' names, where . and .. would be folders.
NewName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Version = Annotated[
    str | None, Query(pattern=VERSION_PATTERN, description="At least its first 8 digits; the present one if not given.")
]


@router.get("")
def list_styles(
    service: ServiceDep,
    tenant: TenantDep,
    limit: Limit = 100,
    after_id: Annotated[str | None, Query(pattern=r"^[\w.-]{1,64}$", description="The name of a style.")] = None,
) -> StylePage:
    """List the styles by name: your own, and those that come with nst."""
    found = service.styles.all(tenant, limit=limit + 1, after=after_id or "")
    names = [style.name for style in found[:limit]]
    return StylePage(
        data=[StyleView.of(style) for style in found[:limit]],
        first_id=names[0] if names else None,
        last_id=names[-1] if names else None,
        has_more=len(found) > limit,
    )


@router.get("/{name}")
def get_style(name: Name, service: ServiceDep, tenant: TenantDep, version: Version = None) -> StyleView:
    """Return a style and its card."""
    return StyleView.of(service.styles.get(tenant, name, version=version))


@router.get("/{name}/versions")
def list_versions(
    name: Name,
    service: ServiceDep,
    tenant: TenantDep,
    limit: Limit = 100,
    after_id: Annotated[str | None, Query(pattern=r"^[0-9a-f]{64}$", description="A version.")] = None,
) -> VersionPage:
    """List the versions of a style, newest first."""
    found, present = service.styles.versions(tenant, name)
    known = [row.version for row in found]
    if after_id is not None and after_id not in known:
        raise RequestInvalidError("The style has no such version.", pointer="/after_id")
    start = 0 if after_id is None else known.index(after_id) + 1
    page = known[start : start + limit]
    return VersionPage(
        data=[VersionView.of(row, present=present) for row in found[start : start + limit]],
        first_id=page[0] if page else None,
        last_id=page[-1] if page else None,
        has_more=len(found) > start + limit,
    )


@router.get("/{name}/weights", response_class=StreamingResponse, responses=answers(502))
def get_weights(name: Name, service: ServiceDep, tenant: TenantDep, version: Version = None) -> StreamingResponse:
    """Return the weights file of a style."""
    style, data = service.styles.weights(tenant, name, version=version)
    # Names of before may have letters that headers do not know.
    file_name = f"{style.name}-{style.version[:8]}.safetensors".encode("ascii", "replace").decode().replace("?", "_")
    headers = {
        "Content-Disposition": f'attachment; filename="{file_name}"',
        "X-Content-Type-Options": "nosniff",
        "ETag": f'"{style.version}"',
    }
    return StreamingResponse(data, media_type="application/octet-stream", headers=headers)


@router.put(
    "/{name}",
    status_code=201,
    responses={200: {"model": StyleView, "description": "It has this version."}, **answers(409, 502)},
)
def put_style(name: NewName, body: StyleBody, service: ServiceDep, tenant: TenantDep, response: Response) -> StyleView:
    """Make a style of a weights file in storage, such as one that was uploaded.

    201 where the style got this version now, 200 where it had it, 409 `style_exists` where it has another one, or
    comes with nst.
    """
    style, new = service.styles.import_style(tenant, name, weights=body.weights, card=body.card, replace=body.replace)
    response.status_code = 201 if new else 200
    return StyleView.of(style)


@router.post("/{name}/publish", responses=answers(409))
def publish_style(name: Name, body: PublishBody, service: ServiceDep, tenant: TenantDep) -> StyleView:
    """Let the name stand for another version that you have made."""
    return StyleView.of(service.styles.publish(tenant, name, version=body.version))


@router.delete("/{name}", status_code=204, responses=answers(409))
def delete_style(name: Name, service: ServiceDep, tenant: TenantDep) -> None:
    """Free a style's name; its versions stay, for jobs that pin them."""
    service.styles.delete(tenant, name)
