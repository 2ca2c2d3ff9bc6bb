"""Checks that a query has only known parameters, each at most once.

Otherwise, a misspelt filter would match everything.
"""

from fastapi import Request

from scheduler.domain.errors import RequestInvalidError

#: Prefix of the parameters that filter jobs by metadata.
LABEL = "metadata."
_WITH_LABELS = frozenset({"/v1/jobs"})


def check_query(request: Request) -> None:
    """Raise RequestInvalidError for a parameter that is not in the OpenAPI document, or that is repeated."""
    if not request.url.query:
        return
    path, method = request.scope["route"].path_format, request.method
    operation = request.app.openapi()["paths"][path].get(method.lower(), {})
    known = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name.startswith(LABEL) and path in _WITH_LABELS and method == "GET":
            continue  # checked by the route
        if name not in known:
            there_are = f"known parameters: {', '.join(sorted(known))}" if known else "this route has no parameters"
            raise RequestInvalidError(f"There is no such parameter; {there_are}.", pointer=f"/{name}"[:80])
        if name in seen:
            raise RequestInvalidError("The parameter must be given only once.", pointer=f"/{name}")
        seen.add(name)
