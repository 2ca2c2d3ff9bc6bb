"""Route of the codes of all that goes wrong."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from scheduler.api import problems
from scheduler.api.json_bodies import JsonRoute
from scheduler.api.pages import Page
from scheduler.api.parameters import AfterId, Limit

router = APIRouter(route_class=JsonRoute, prefix="/v1/errors", tags=["errors"])


class ErrorCodeView(BaseModel):
    """A code that answers, items, jobs or runs may have."""

    code: str
    status: int | None = Field(description="Of answers with it; null: only items, jobs and runs have it.")
    meaning: str


class ErrorCodePage(Page[ErrorCodeView, str]):
    """A page of the codes, by status; they are the ids."""


@router.get("")
def list_errors(limit: Limit = 1000, after_id: AfterId = None) -> ErrorCodePage:
    """List the codes of problems, and of errors of items, jobs and runs, and what they mean."""
    views = [ErrorCodeView(**vars(each)) for each in problems.codes()]
    return ErrorCodePage.of_all(views, limit=limit, after_id=after_id, id="code")
