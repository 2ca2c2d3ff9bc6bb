"""What answers of the API say: values or errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from nst_core.client.errors import ApiError, UnreachableError

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Page:
    """A part of a listing."""

    data: list[dict[str, Any]]
    has_more: bool = False
    last_id: str | int | None = None


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A file that was uploaded."""

    uri: str


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """How many messages are sent again."""

    replayed: int


def checked(response: httpx.Response) -> httpx.Response:
    """Return a response whose body was read; raise ApiError where the API refuses."""
    if response.is_success:
        return response
    raise refusal(response)


def refusal(response: httpx.Response) -> ApiError:
    """Return the error for an answer that is no success, and whose body was read."""
    try:
        problem = response.json()
        code, detail = str(problem["code"]), str(problem.get("detail") or problem["title"])
    except (ValueError, KeyError, TypeError):
        code, detail = f"http_{response.status_code}", f"The API answered {response.status_code} with no explanation."
    else:
        detail = " ".join([detail, *_places(problem.get("errors"), said=detail)])
    return ApiError(status=response.status_code, code=code, detail=detail)


def parsed(cls: type[_T], body: bytes) -> _T:
    """Return a body as a value of a class; raise UnreachableError where it is none."""
    return _translated(TypeAdapter(cls).validate_json, body)


def values_of(cls: type[_T], page: Page) -> list[_T]:
    """Return the values of a page; raise UnreachableError where they are none of the class."""
    return _translated(TypeAdapter(list[cls]).validate_python, page.data)  # type: ignore[valid-type]


def next_link(response: httpx.Response) -> str | None:
    """Return the path of the next part of an answer, where there is one."""
    return response.links.get("next", {}).get("url")


def _places(errors: Any, *, said: str) -> Sequence[str]:
    """Return what a problem's `errors` add to its detail, as `(/output/name: sentence)`; nothing is said twice."""
    if not isinstance(errors, list):
        return ()
    found = [each for each in errors if isinstance(each, dict) and each.get("detail")]
    places = []
    for each in found:
        pointer, detail = str(each.get("pointer") or ""), str(each["detail"])
        if detail not in said:
            places.append(f"({pointer}: {detail})" if pointer else f"({detail})")
        elif pointer and pointer not in said:
            places.append(f"({pointer})")
    return places


def _translated(validate: Callable[[Any], _T], values: Any) -> _T:
    try:
        return validate(values)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UnreachableError(f"The answer is none that this version of nst knows: {reason}.") from error
