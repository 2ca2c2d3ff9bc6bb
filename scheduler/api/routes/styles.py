"""Routes of styles and their versions."""

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from nst_core.client.resources.styles import (
    PublishRequest,
    Style,
    StylePage,
    StyleRequest,
    StyleVersionPage,
)
from scheduler.api.dependencies import ServiceDep, TenantDep
from scheduler.api.examples import files
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import collect
from scheduler.api.parameters import AfterId, AfterVersion, Limit, NewStyleName, StyleName, Version
from scheduler.api.problems import answers
from scheduler.api.resources import style_of, version_of

router = APIRouter(route_class=JsonRoute, prefix="/v1/styles", tags=["styles"])


@router.get("")
def list_styles(
    service: ServiceDep,
    tenant: TenantDep,
    limit: Limit = 100,
    after_id: AfterId = None,
) -> StylePage:
    """List the styles by name: your own, and those that come with nst."""
    return collect(
        StylePage,
        lambda most, after: service.styles.all(tenant, limit=most, after=after or ""),
        style_of,
        limit=limit,
        after_id=after_id,
    )


@router.get("/{name}")
def get_style(name: StyleName, service: ServiceDep, tenant: TenantDep, version: Version = None) -> Style:
    """Return a style and its card."""
    return style_of(service.styles.get(tenant, name, version=version))


@router.get("/{name}/versions")
def list_versions(
    name: StyleName,
    service: ServiceDep,
    tenant: TenantDep,
    limit: Limit = 100,
    after_id: AfterVersion = None,
) -> StyleVersionPage:
    """List the versions of a style, newest first."""
    present = service.styles.present(tenant, name)
    return collect(
        StyleVersionPage,
        lambda most, after: service.styles.versions(tenant, name, limit=most, after=after),
        lambda row: version_of(row, present=present),
        limit=limit,
        after_id=after_id,
    )


@router.get(
    "/{name}/weights", response_class=StreamingResponse, responses=answers(502) | files("application/octet-stream")
)
def get_weights(name: StyleName, service: ServiceDep, tenant: TenantDep, version: Version = None) -> StreamingResponse:
    """Return the weights file of a style."""
    style, data = service.styles.weights(tenant, name, version=version)
    # Names from earlier releases may have letters that headers cannot contain.
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
    responses={200: {"model": Style, "description": "The style already has this version."}, **answers(409, 502)},
)
def put_style(
    name: NewStyleName, body: StyleRequest, service: ServiceDep, tenant: TenantDep, response: Response
) -> Style:
    """Create a style from a weights file in storage, such as an uploaded one.

    Returns 201 if the style is new, 200 if it already has this version, and 409 `style_exists` if it has another
    version or comes with nst.
    """
    style, new = service.styles.import_style(
        tenant, name, weights=body.weights, index=body.index, card=body.card, replace=body.replace
    )
    response.status_code = 201 if new else 200
    return style_of(style)


@router.post("/{name}/publish", responses=answers(409))
def publish_style(name: StyleName, body: PublishRequest, service: ServiceDep, tenant: TenantDep) -> Style:
    """Publish a version: it becomes the style's current version."""
    return style_of(service.styles.publish(tenant, name, version=body.version))


@router.delete("/{name}", status_code=204, responses=answers(409))
def delete_style(name: StyleName, service: ServiceDep, tenant: TenantDep) -> None:
    """Delete a style's name. Its versions are kept for jobs that pin them."""
    service.styles.delete(tenant, name)
