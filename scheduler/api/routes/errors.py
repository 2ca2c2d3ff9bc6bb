"""Route that lists error codes."""

from fastapi import APIRouter

from nst_core.client.resources.problems import ErrorCodePage
from scheduler.api import problems
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import cut
from scheduler.api.parameters import AfterId, Limit

router = APIRouter(route_class=JsonRoute, prefix="/v1/errors", tags=["errors"])


@router.get("")
def list_errors(limit: Limit = 1000, after_id: AfterId = None) -> ErrorCodePage:
    """List all error codes of the API and of items, jobs and runs, with their meanings."""
    return cut(ErrorCodePage, problems.codes(), limit=limit, after_id=after_id)
