"""Routes for liveness and readiness."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fastapi import APIRouter, Response

from nst_core.client.resources.health import Live, Ready
from nst_core.errors import NstError
from scheduler.api.dependencies import ApiState, StateDep
from scheduler.api.json_bodies import JsonRoute

log = logging.getLogger(__name__)

router = APIRouter(route_class=JsonRoute, tags=["health"])


@router.get("/livez")
async def livez() -> Live:
    """Return 200 without any checks."""
    return Live(status="alive")


@router.get("/readyz", responses={503: {"model": Ready}})
def readyz(state: StateDep, response: Response) -> Ready:
    """Check the database, Redis and the storage; return 503 if one does not answer.

    This needs no key, so the result is cached for a second and only one check runs at a time.
    """
    checks = state.readiness.checks(lambda: _checks(state))
    ready = all(result == "ok" for result in checks.values())
    response.status_code = 200 if ready else 503
    return Ready(status="ready" if ready else "unavailable", checks=checks)


def _checks(state: ApiState) -> dict[str, str]:
    pings: dict[str, Callable[[], None]] = {
        "database": state.database.ping,
        "broker": state.broker.ping,
        "storage": state.blobs.ping,
    }
    # In parallel, because each check may take seconds to time out.
    with ThreadPoolExecutor(len(pings)) as pool:
        return dict(zip(pings, pool.map(_check, pings.values()), strict=True))


def _check(ping: Callable[[], None]) -> str:
    try:
        ping()
    except NstError as error:
        # This needs no key, so names of servers appear only in the log.
        log.warning("Not ready: %s", error.message)
        return error.code
    return "ok"
