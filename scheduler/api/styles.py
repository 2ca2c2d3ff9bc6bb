"""Routes of styles."""

from typing import Annotated

from fastapi import APIRouter, Path

from scheduler.api.dependencies import ServiceDep, TenantDep
from scheduler.api.schemas import StylePage, StyleView

router = APIRouter(prefix="/v1/styles", tags=["styles"])


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
