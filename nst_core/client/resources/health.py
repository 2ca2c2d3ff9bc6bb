"""Whether the scheduler is alive, and whether it can work."""

from typing import Literal

from pydantic import Field

from nst_core.client.resources.base import Resource, shown


class Live(Resource):
    """The process answers."""

    model_config = shown({"status": "alive"})

    status: Literal["alive"]


class Ready(Resource):
    """Whether everything that the scheduler needs answers."""

    model_config = shown({"status": "ready", "checks": {"database": "ok", "broker": "ok", "storage": "ok"}})

    status: Literal["ready", "unavailable"]
    checks: dict[str, str] = Field(description="ok, or the code of an error, by what was checked.")
