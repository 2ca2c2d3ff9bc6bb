"""Bodies about jobs besides the job itself: retries and dry runs."""

from http import HTTPStatus
from typing import Annotated, Self

from pydantic import BaseModel, Field, StringConstraints

from scheduler.api.bodies import Body
from scheduler.resources import Check

Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,64}$")]


class RetryBody(Body):
    """Which items of an ended job are done again."""

    codes: Annotated[tuple[Code, ...], Field(min_length=1, max_length=100)] | None = Field(
        None, description="Only items that failed with one of these codes."
    )
    cancelled: bool = Field(False, description="The cancelled items too, and what was not read of the input.")


class ProblemEntry(BaseModel):
    """What is wrong with a request, or with one of its photos."""

    code: str
    message: str
    pointer: str | None = Field(description="JSON pointer of the field in the request.")
    line: int | None = Field(description="Of the manifest, from 1, empty ones not counted.")
    input: str | None = Field(description="Address of the photo.")


class CheckView(BaseModel):
    """What a job would do; nothing was submitted."""

    valid: bool = Field(description="It would be accepted, and have an item that does not fail at once.")
    photos: int
    items: int = Field(description="Photos x styles.")
    failing: int = Field(description="Items that would fail at once.")
    truncated: bool = Field(description="There are more photos than were looked at.")
    objects_checked: int | None = Field(
        description="Photos of which it is known whether they are in the storage: all below a prefix; of `uris` and "
        "manifests the first 100 at most, as far as 2.5 seconds allow. Null if nobody has looked."
    )
    problems: list[ProblemEntry] = Field(description="The first 100.")
    estimated_s: float | None = Field(
        description="About how long the job would take with the present workers; null where nothing was measured yet."
    )

    @classmethod
    def of(cls, check: Check) -> Self:
        """Return the view of a dry run."""
        problems = [ProblemEntry(**vars(problem)) for problem in check.problems]
        return cls(**(vars(check) | {"problems": problems}))


def files(*media_types: str, example: str | None = None) -> dict[int | str, dict[str, object]]:
    """Return the documentation of a route's good answer that is no JSON."""
    shown: dict[str, object] = {} if example is None else {"example": example}
    content = {kind: {"schema": {"type": "string", "format": "binary"}} | shown for kind in media_types}
    return {200: {"description": HTTPStatus.OK.phrase, "content": content}}
