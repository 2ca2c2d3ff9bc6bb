"""What a query may say: the parameters of its route, each once. A misspelt filter would otherwise find everything."""

from fastapi import Request

from scheduler.domain.errors import RequestInvalidError

#: Of the listing of jobs: parameters that name metadata begin so.
LABEL = "metadata."
_WITH_LABELS = frozenset({"/v1/jobs"})


def check_query(request: Request) -> None:
    """Raise RequestInvalidError for a parameter that the API's document does not know, or that is given twice."""
    if not request.url.query:
        return
    path, method = request.scope["route"].path_format, request.method
    operation = request.app.openapi()["paths"][path].get(method.lower(), {})
    known = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name.startswith(LABEL) and path in _WITH_LABELS and method == "GET":
            continue  # checked where they are read
        if name not in known:
            there_are = f"there are {', '.join(sorted(known))}" if known else "the route takes none"
            raise RequestInvalidError(f"There is no such parameter; {there_are}.", pointer=f"/{name}"[:80])
        if name in seen:
            raise RequestInvalidError("The parameter is given more than once.", pointer=f"/{name}")
        seen.add(name)
