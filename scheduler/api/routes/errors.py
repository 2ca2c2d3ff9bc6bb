"""Route of the codes of all that goes wrong."""

from fastapi import APIRouter

from nst_core.client.resources.problems import ErrorCodePage
from scheduler.api import problems
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import cut
from scheduler.api.parameters import AfterId, Limit

router = APIRouter(route_class=JsonRoute, prefix="/v1/errors", tags=["errors"])


@router.get("")
def list_errors(limit: Limit = 1000, after_id: AfterId = None) -> ErrorCodePage:
    """List the codes of problems, and of errors of items, jobs and runs, and what they mean."""
    return cut(ErrorCodePage, problems.codes(), limit=limit, after_id=after_id)
