"""Route of the codes that problems have."""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from scheduler.api import problems

router = APIRouter(prefix="/v1/errors", tags=["errors"])


class ErrorCodeView(BaseModel):
    """A code that answers may have."""

    code: str
    status: int = Field(description="The HTTP status that it comes with.")
    meaning: str


class ErrorCodePage(BaseModel):
    """All codes, by status."""

    data: list[ErrorCodeView]


@router.get("")
def list_errors() -> ErrorCodePage:
    """List the codes of problems and what they mean."""
    return ErrorCodePage(data=[ErrorCodeView(**vars(each)) for each in problems.codes()])
