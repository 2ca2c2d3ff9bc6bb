"""What the OpenAPI document says of errors."""

from typing import Any

_MEANINGS = {
    401: "The API key is missing or not valid.",
    404: "There is no such thing, or it is another tenant's.",
    409: "It is not in a state for this.",
    422: "A value cannot be used.",
    429: "Too much at once.",
    503: "Something that is needed does not answer, or is not set up.",
}


#: RFC 9457.
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Stays the same in later versions."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the entries of a route's `responses` for the errors that it answers with."""
    media = {"application/problem+json": {"schema": _PROBLEM}}
    return {status: {"description": _MEANINGS[status], "content": media} for status in statuses}
