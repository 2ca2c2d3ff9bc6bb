"""Route of the presets of the method optimize."""

from fastapi import APIRouter

from nst_core.gatys.presets import PRESETS
from scheduler.api.dependencies import TenantDep
from scheduler.api.schemas import PresetPage, PresetView
from scheduler.optimize import summary_of

router = APIRouter(prefix="/v1/presets", tags=["presets"])


@router.get("")
def list_presets(tenant: TenantDep) -> PresetPage:
    """List the presets of the method optimize."""
    return PresetPage(
        data=[
            PresetView(name=name, summary=summary_of(config), config=config.to_dict())
            for name, config in PRESETS.items()
        ]
    )
