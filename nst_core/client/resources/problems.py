"""Problems: how the API says that a request was not fulfilled, and the codes of everything that can go wrong."""

from pydantic import Field

from nst_core.client.resources.base import Resource, shown
from nst_core.client.resources.pages import Page


class FieldProblem(Resource):
    """What is wrong with one field of a request."""

    pointer: str = Field(description="JSON pointer (RFC 6901) into the body; for a parameter, / and its name.")
    detail: str


class Problem(Resource):
    """Why a request was not fulfilled (RFC 9457)."""

    model_config = shown(
        {
            "type": "about:blank",
            "title": "Invalid request",
            "status": 422,
            "detail": "There is no style 'great_wafe'.",
            "instance": "/v1/jobs",
            "code": "request_invalid",
            "request_id": "req_3f9a10c2b4d1019ab5e0c8a4",
            "errors": [{"pointer": "/styles/0", "detail": "There is no style 'great_wafe'."}],
            "more_errors": 0,
        }
    )

    type: str = Field(description="about:blank; `code` says more.")
    title: str
    status: int
    detail: str = Field(description="One sentence for people.")
    instance: str = Field(description="The path of the request.")
    code: str = Field(description="Stable, for programs; GET /v1/errors lists all codes.")
    request_id: str = Field(description="Also in the header X-Request-Id and in the server's log.")
    errors: tuple[FieldProblem, ...] = Field((), description="If fields are wrong: the first 20.")
    more_errors: int = Field(0, description="How many other fields are wrong.")


class ErrorCode(Resource):
    """A code that answers, items, jobs or runs may have."""

    model_config = shown(
        {"code": "request_invalid", "status": 422, "meaning": "A field of the request has a value that cannot be used."}
    )

    code: str
    status: int | None = Field(
        description="The status of answers with this code; null if only items, jobs and runs have it."
    )
    meaning: str


class ErrorCodePage(Page[ErrorCode, str]):
    """A page of the codes, sorted by status; the codes are the ids."""

    id_field = "code"
