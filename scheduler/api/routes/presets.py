"""Route of the presets of the method optimize."""

from fastapi import APIRouter

from nst_core.client.resources.styles import Preset, PresetPage
from nst_core.gatys.presets import PRESETS
from scheduler.api.dependencies import TenantDep
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import cut
from scheduler.api.parameters import AfterId, Limit
from scheduler.jobs.methods.optimize import summary_of

router = APIRouter(route_class=JsonRoute, prefix="/v1/presets", tags=["presets"])


@router.get("")
def list_presets(tenant: TenantDep, limit: Limit = 100, after_id: AfterId = None) -> PresetPage:
    """List the presets of the method optimize."""
    found = [Preset(name=name, summary=summary_of(config), config=config.to_dict()) for name, config in PRESETS.items()]
    return cut(PresetPage, found, limit=limit, after_id=after_id)
