"""The OpenAPI document as an integrator reads it: examples, descriptions, pages."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

from nst_core.client.resources.base import Request, Resource, subclasses
from scheduler.api.openapi import operations
from tests.integration.conftest import Rig

# No document depends on the database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def models() -> dict[str, type[BaseModel]]:
    """Return the models of the API's resources by name."""
    return {cls.__name__: cls for cls in (*subclasses(Request), *subclasses(Resource))}


def bodies(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the JSON content of each request and each successful answer."""
    for path, method, operation in operations(document):
        said = {"request": operation.get("requestBody", {})} | operation["responses"]
        for place, each in said.items():
            shown = each.get("content", {}).get("application/json")
            if shown is not None and not place.startswith(("4", "5")):
                yield f"{method} {path} {place}", shown["schema"]


def names_of(schema: dict[str, Any]) -> list[str]:
    """Return the names of the schemas that a body may have."""
    each = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return [one["$ref"].rpartition("/")[2] for one in each]


def test_each_request_and_answer_has_an_example(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    seen = {name: place for place, schema in bodies(document) for name in names_of(schema)}
    assert len(seen) > 30
    assert {name: place for name, place in seen.items() if not schemas[name].get("examples")} == {}
    assert schemas["Problem"]["examples"]


def test_examples_match_their_schema(document: dict[str, Any]) -> None:
    known, checked = models(), 0
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            value = known[name].model_validate_json(json.dumps(example))
            if isinstance(value, Resource):  # an answer has exactly the fields of its schema
                assert set(value.model_dump()) == set(example), name
            checked += 1
    assert checked > 40


def test_each_route_and_parameter_is_described(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        assert operation["summary"], (method, path)
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (method, path, parameter["name"])


@pytest.mark.parametrize("module", ["items", "jobs", "runs", "webhooks"])
def test_each_field_of_these_resources_is_described(document: dict[str, Any], module: str) -> None:
    """A field that has a schema of its own is described there."""
    schemas, seen = document["components"]["schemas"], 0
    for name, model in models().items():
        if model.__module__ != f"nst_core.client.resources.{module}" or name not in schemas:
            continue
        for field, schema in schemas[name].get("properties", {}).items():
            seen += 1
            assert "$ref" in json.dumps(schema) or schema.get("description"), f"{name}.{field}"
    assert seen > 10


def test_each_listing_has_pages(document: dict[str, Any]) -> None:
    listings = [
        (path, operation)
        for path, method, operation in operations(document)
        if method == "get" and "Page" in json.dumps(operation["responses"].get("200", {}))
    ]
    assert len(listings) >= 12
    for path, operation in listings:
        assert {"limit", "after_id"} <= {each["name"] for each in operation["parameters"]}, path


@pytest.mark.parametrize(
    ("path", "id"), [("/v1/errors", "code"), ("/v1/presets", "name"), ("/v1/training-presets", "name")]
)
def test_a_listing_that_is_held_in_memory_has_pages_too(client: TestClient, path: str, id: str) -> None:
    whole = client.get(path).json()
    assert not whole["has_more"]
    seen: list[dict[str, Any]] = []
    query: dict[str, str | int] = {"limit": 2}
    while True:
        page = client.get(path, params=query).json()
        assert len(page["data"]) <= 2
        seen += page["data"]
        if not page["has_more"]:
            break
        query["after_id"] = page["last_id"]
    assert seen == whole["data"]
    assert [each[id] for each in (seen[0], seen[-1])] == [whole["first_id"], whole["last_id"]]
    refused = client.get(path, params={"after_id": "nothing"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/after_id")


def test_an_empty_page_has_no_ids(client: TestClient, rig: Rig) -> None:
    assert client.get("/v1/jobs").json() == {"data": [], "first_id": None, "last_id": None, "has_more": False}


def test_parameters_have_types_that_client_generators_support(document: dict[str, Any]) -> None:
    seen = 0
    for path, method, operation in operations(document):
        for parameter in operation.get("parameters", []):
            schema, place = parameter["schema"], (method, path, parameter["name"])
            seen += 1
            assert "anyOf" not in schema, place
            assert "oneOf" not in schema, place
            if parameter["in"] == "header":
                assert schema["type"] in ("string", "integer"), place
    assert seen > 100
    prefers = [
        parameter["schema"]["type"]
        for _, _, operation in operations(document)
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "prefer"
    ]
    assert prefers == ["string"] * 3


def test_operations_have_short_unique_names(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    assert {"submit_job", "get_job", "list_jobs", "delete_job", "train_style", "put_file"} <= set(ids)
    assert not any("v1" in each for each in ids)


def test_the_document_says_what_the_api_is_and_where(document: dict[str, Any]) -> None:
    assert len(document["info"]["description"]) > 100
    assert document["servers"][0]["url"] == "/"


def test_the_document_names_the_requests_that_take_an_idempotency_key(document: dict[str, Any]) -> None:
    taking = {
        f"{method.upper()} {path}"
        for path, method, operation in operations(document)
        if any(parameter["name"].lower() == "idempotency-key" for parameter in operation.get("parameters", []))
    }
    sentence = document["info"]["description"].partition("These requests take an `Idempotency-Key`")[2]
    assert set(re.findall(r"`(\w+ /[^`]+)`", sentence)) == taking
