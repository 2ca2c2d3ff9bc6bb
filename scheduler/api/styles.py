"""Routes of styles."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from scheduler.api.dependencies import ServiceDep, TenantDep
from scheduler.api.schemas import StyleBody, StylePage, StyleView

router = APIRouter(prefix="/v1/styles", tags=["styles"])

#: Stricter than for look-ups: names become parts of results' names, where . and .. would be folders.
NewName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


@router.get("")
def list_styles(service: ServiceDep, tenant: TenantDep) -> StylePage:
    """List all styles."""
    return StylePage(data=[StyleView.of(style) for style in service.styles()])


@router.get("/{name}")
def get_style(
    name: Annotated[str, Path(pattern=r"^[\w.-]{1,64}$")], service: ServiceDep, tenant: TenantDep
) -> StyleView:
    """Return a style and its card."""
    return StyleView.of(service.style(name))


@router.put("/{name}", status_code=201, responses={200: {"model": StyleView, "description": "It has this version."}})
def put_style(name: NewName, body: StyleBody, service: ServiceDep, tenant: TenantDep, response: Response) -> StyleView:
    """Make a style of a weights file in storage, such as one that was uploaded.

    201 where the style got this version now, 200 where it had it, 409 `style_exists` where it has another one.
    """
    style, new = service.import_style(tenant, name, weights=body.weights, card=body.card, replace=body.replace)
    response.status_code = 201 if new else 200
    return StyleView.of(style)
