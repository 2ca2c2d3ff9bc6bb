"""Route of the presets of the method optimize."""

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from nst_core.gatys.presets import PRESETS
from scheduler.api.dependencies import TenantDep
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import Page
from scheduler.api.parameters import AfterId, Limit
from scheduler.jobs.methods.optimize import summary_of

router = APIRouter(route_class=JsonRoute, prefix="/v1/presets", tags=["presets"])


class PresetView(BaseModel):
    """A named set of options, of the method optimize or of trainings."""

    name: str
    summary: str
    config: dict[str, Any]


class PresetPage(Page[PresetView, str]):
    """A page of presets; their names are the ids."""


@router.get("")
def list_presets(tenant: TenantDep, limit: Limit = 100, after_id: AfterId = None) -> PresetPage:
    """List the presets of the method optimize."""
    found = [
        PresetView(name=name, summary=summary_of(config), config=config.to_dict()) for name, config in PRESETS.items()
    ]
    return PresetPage.of_all(found, limit=limit, after_id=after_id, id="name")
