"""Turns answers of the API into resources or errors."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError

from nst_core.client.errors import ApiError, UnreachableError
from nst_core.client.resources.base import Resource

#: The longest pause before a repeat that an answer is believed.
_MOST_TOLD_S = 30.0
_T = TypeVar("_T", bound=Resource)


def checked(response: httpx.Response) -> httpx.Response:
    """Return a response whose body was read; raise ApiError if it is an error."""
    if response.is_success:
        return response
    raise refusal(response)


def refusal(response: httpx.Response) -> ApiError:
    """Return the error for an unsuccessful response whose body was read."""
    try:
        problem = response.json()
        code, detail = str(problem["code"]), str(problem.get("detail") or problem["title"])
    except (ValueError, KeyError, TypeError, RecursionError):
        code, detail = f"http_{response.status_code}", f"The API answered {response.status_code} with no explanation."
    else:
        detail = " ".join([detail, *_places(problem.get("errors"), said=detail)])
    return ApiError(
        status=response.status_code, code=code, detail=detail, retry_after_s=_retry_after_s(response.headers)
    )


def parsed(cls: type[_T], body: bytes) -> _T:
    """Return the resource that a body holds; raise UnreachableError if the body is something else."""
    try:
        return cls.model_validate_json(body)
    except ValidationError as error:
        raise not_understood(error) from error


def not_understood(error: Exception) -> UnreachableError:
    """Return the error for an answer that is not what this version of nst expects."""
    reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else repr(error)
    return UnreachableError(f"This version of nst does not understand the answer: {reason}.")


def next_link(response: httpx.Response) -> str | None:
    """Return the path of the next part of an answer, or None."""
    return response.links.get("next", {}).get("url")


def _retry_after_s(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    return min(float(text), _MOST_TOLD_S) if text.isdecimal() else 0.0


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
