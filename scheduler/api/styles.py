"""Routes of styles."""

from fastapi import APIRouter

from scheduler.api.dependencies import ServiceDep, TenantDep
from scheduler.api.schemas import StylePage, StyleView

router = APIRouter(prefix="/v1/styles", tags=["styles"])


@router.get("")
def list_styles(service: ServiceDep, tenant: TenantDep) -> StylePage:
    """List all styles."""
    return StylePage(data=[StyleView.of(style) for style in service.styles()])


@router.get("/{name}")
def get_style(name: str, service: ServiceDep, tenant: TenantDep) -> StyleView:
    """Return a style and its card."""
    return StyleView.of(service.style(name))
