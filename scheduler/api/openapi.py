"""Completes FastAPI's OpenAPI document with examples, scopes and errors."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fastapi.routing import APIRoute, APIRouter

from nst_core.client.resources.base import Request, Resource, examples_of, subclasses
from nst_core.client.resources.problems import Problem
from nst_core.client.resources.runs import TrainRequest
from scheduler.api import problems
from scheduler.api.dependencies import Needs

_SCHEME = "HTTPBearer"
_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
#: Error statuses of every route that needs a key.
_COMMON = (401, 422, 429, 503)
_OF_BODIES = (400, 413, 415)
#: FastAPI's schemas for invalid requests, which `Problem` replaces.
_UNUSED = ("HTTPValidationError", "ValidationError")


def needs_of(routers: Iterable[tuple[APIRouter, Needs | None]]) -> dict[tuple[str, str], Needs]:
    """Return the scopes of the routes that need a key, by path and method."""
    return {
        (route.path_format, method.lower()): needs
        for router, needs in routers
        if needs is not None
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


def describe(document: dict[str, Any], needs: Mapping[tuple[str, str], Needs]) -> dict[str, Any]:
    """Return FastAPI's document with examples, and with the scopes and errors of each route."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in _UNUSED:
        schemas.pop(name, None)
    # No route's signature has these models.
    for model in (Problem, TrainRequest):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {}) | {model.__name__: schema}
    for each in (*subclasses(Request), *subclasses(Resource)):
        if each.__name__ in schemas and (examples := examples_of(each)):
            # FastAPI omits null values from examples.
            schemas[each.__name__]["examples"] = examples
    for path, method, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = _without_null(parameter["schema"])
        summary = operation.get("description", "").partition("\n")[0].rstrip(".")
        if summary:
            operation["summary"] = summary
        need = needs[path, method] if "security" in operation else None
        statuses = {int(status) for status in operation["responses"] if status.isdecimal() and int(status) == 422}
        if need is not None:
            scopes = need.scopes(method)
            operation["security"] = [{_SCHEME: [scope]} for scope in scopes] or [{_SCHEME: []}]
            if scopes:
                text = " or ".join(f"`{scope}`" for scope in scopes)
                operation["description"] = f"{operation.get('description', '')}\n\nNeeds the scope {text}.".strip()
            statuses |= {*_COMMON, *((403,) if scopes else ())}
            if "{" in path:
                statuses.add(404)
            if "requestBody" in operation:
                statuses |= set(_OF_BODIES)
        for status, said in problems.answers(*sorted(statuses)).items():
            # Keep the responses that a route declares, except FastAPI's own 422.
            if status == 422 or str(status) not in operation["responses"]:
                operation["responses"][str(status)] = said
    return document


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an optional parameter without null, so that generated clients do not accept None."""
    given = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if len(given) != 1:
        return schema
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **given[0]}


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield path, method and description of every operation of a document."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method, item[method]
