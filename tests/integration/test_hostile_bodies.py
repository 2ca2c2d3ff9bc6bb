"""Requests built to be expensive: each gets one short answer, and no other request waits."""

import json
import string
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nst_core.client.resources.sentences import PATTERNS
from nst_core.storage.blobs import BlobUri
from scheduler.api.problems import MAX_ERRORS
from tests.integration.conftest import Rig

MIB = 2**20
JSON = {"Content-Type": "application/json"}
#: More bytes than any answer to a wrong request has.
SHORT = 16 * 1024

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def assert_refused(answer: Any, *statuses: int) -> dict[str, Any]:
    """Check that an answer is a short refusal, and return its problem."""
    assert answer.status_code in (statuses or (400, 413, 422)), answer.text[:500]
    assert len(answer.content) < SHORT
    problem: dict[str, Any] = answer.json()
    assert problem["detail"]
    return problem


def job(**changes: Any) -> dict[str, Any]:
    return {"input": {"uris": ["s3://nst/a.jpg"]}, "styles": ["wave"], **changes}


def test_a_body_of_unknown_keys_is_refused_before_it_is_parsed(client: TestClient) -> None:
    body = "{" + ",".join(f'"{number:x}":1' for number in range(410_000)) + "}"
    assert len(body) < 4 * MIB
    problem = assert_refused(client.post("/v1/jobs", content=body, headers=JSON), 413)
    assert problem["code"] == "too_large"


def test_an_answer_lists_the_first_wrong_fields_and_how_many_more_there_are(client: TestClient) -> None:
    unknown = {f"field{number}": number for number in range(500)}
    problem = assert_refused(client.post("/v1/jobs", json=job(**unknown)), 422)
    assert len(problem["errors"]) == MAX_ERRORS
    assert problem["more_errors"] == 500 - MAX_ERRORS
    few = assert_refused(client.post("/v1/jobs", json=job(strength=2)), 422)
    assert (len(few["errors"]), few["more_errors"]) == (1, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"x" * (3 * MIB): 1},
        {"styles": ["x" * (3 * MIB)]},
        {"input": {"uris": ["s3://" + "x" * 2000] * 1000, "prefix": "y" * MIB}},
        {"input": {"uris": ["no address" * 100] * 1000}},
        {"output": {"name": "x" * MIB}},
        {"metadata": {"k" * MIB: "v"}},
        {"method": "m" * MIB},
        {"method": "optimize", "styles": [], "paintings": ["s3://nst/a.jpg"], "optimize": {"preset": "p" * 64}},
        {
            "method": "optimize",
            "styles": [],
            "paintings": ["s3://nst/a.jpg"],
            "optimize": {"options": {"iterations": "i" * (3 * MIB)}},
        },
        {
            "method": "optimize",
            "styles": [],
            "paintings": ["s3://nst/a.jpg"],
            "optimize": {"options": {"o" * 64: list(range(9000))}},
        },
        {"deadline": "d" * MIB},
        {"priority": ["p"] * 9000},
    ],
)
def test_an_answer_does_not_repeat_long_input(client: TestClient, changes: dict[str, Any]) -> None:
    assert_refused(client.post("/v1/jobs", json=job(**changes)), 422)


@pytest.mark.parametrize("field", ["description", "url"])
def test_nul_is_refused_in_every_text(client: TestClient, field: str) -> None:
    body = {"url": "https://example.com/", field: "a\0b"}
    problem = assert_refused(client.post("/v1/webhooks", json=body), 422)
    assert problem["errors"][0]["pointer"] == f"/{field}"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("post", "/v1/jobs", job(metadata={"a": "\0"})),
        ("post", "/v1/jobs", job(metadata={"\0": "a"})),
        ("post", "/v1/jobs", job(output={"name": "\0.{ext}"})),
        ("put", "/v1/jobs/mine", job(styles=["\0"])),
        ("post", "/v1/keys", {"name": "\0", "scopes": ["jobs:read"]}),
        ("put", "/v1/tenants/t", {"read": ["s3://b/\0"]}),
        ("put", "/v1/styles/s", {"weights": "s3://nst/w", "card": {"a": ["\0"]}}),
        ("put", "/v1/styles/s", {"weights": "s3://nst/w", "card": {"\0": 1}}),
        ("post", "/v1/styles", {"name": "s", "painting": "s3://nst/p.jpg", "about": {"title": "\0"}}),
        ("post", "/v1/styles", {"name": "s", "painting": "s3://nst/p.jpg", "options": {"a": "\0"}}),
    ],
)
def test_nul_is_refused_by_every_route(client: TestClient, method: str, path: str, body: Any) -> None:
    assert_refused(client.request(method, path, json=body), 422)


@pytest.mark.parametrize("path", ["?status=%00", "?after_id=%00", "?metadata.a=%00", "?metadata.%00=a", "?%00=1"])
def test_nul_is_refused_in_query_parameters(client: TestClient, path: str) -> None:
    assert_refused(client.get("/v1/jobs" + path), 422)


def test_a_long_query_is_refused(client: TestClient) -> None:
    assert_refused(client.get("/v1/jobs?" + "a&" * 20_000), 422)


def test_invalid_numbers_are_refused(client: TestClient) -> None:
    for number in ("NaN", "Infinity", "1e400", "9" * 5000):
        body = json.dumps(job(strength=7)).replace("7", number)
        assert assert_refused(client.post("/v1/jobs", content=body, headers=JSON), 400)["code"] == "malformed_json"


def form(parts: list[tuple[str, bytes]], boundary: str = "b") -> bytes:
    lines = [f"--{boundary}\r\n{headers}\r\n\r\n".encode() + data + b"\r\n" for headers, data in parts]
    return b"".join(lines) + f"--{boundary}--\r\n".encode()


PAINTING = ('Content-Disposition: form-data; name="painting"; filename="a.png"', b"x" * 1000)
REQUEST = 'Content-Disposition: form-data; name="request"'


@pytest.mark.parametrize(
    "parts",
    [
        [PAINTING] * 3,
        [(f'Content-Disposition: form-data; name="{letter}"', b"x") for letter in string.ascii_letters],
        [PAINTING, (REQUEST + "\r\nX-A: 1" * 10_000, b"{}")],
        [PAINTING, (REQUEST + "\r\nX-A: " + "1" * MIB, b"{}")],
        [PAINTING, (REQUEST, b"{" * MIB)],
        [PAINTING, (REQUEST, b'{"name": "s", "about": {"title": "\\u0000"}}')],
        [PAINTING, (REQUEST, b'{"name": "s", ' + b"".join(b'"k%d":1,' % n for n in range(90_000)) + b'"z":1}')],
        [PAINTING, (REQUEST, b"x" * (2 * MIB))],
        [PAINTING, (REQUEST, b"\xff")],
        [],
    ],
)
def test_an_expensive_form_is_refused(client: TestClient, parts: list[tuple[str, bytes]]) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert_refused(client.post("/v1/styles", content=form(parts), headers=headers))


@pytest.mark.parametrize("charset", ["punycode", "idna", "utf-16", "zip", "x" * 1000])
def test_a_form_that_is_not_utf_8_is_refused(client: TestClient, charset: str) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    body = form([PAINTING, (REQUEST, b"-" + b"\xff" * (MIB // 2))])
    assert_refused(client.post("/v1/styles", content=body, headers=headers), 422)


def test_a_form_is_not_stored_as_a_photo(client: TestClient, rig: Rig) -> None:
    upload = client.post("/v1/uploads").json()
    answer = client.put(f"/v1/uploads/{upload['id']}/a.jpg", files={"file": b"x"})
    assert assert_refused(answer, 415)["code"] == "unsupported_media_type"
    assert not rig.blobs.exists(BlobUri.parse(upload["prefix"] + "a.jpg"))


def test_no_answer_shows_a_regular_expression_or_a_framework_message(client: TestClient) -> None:
    found: list[str] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("pattern"), str):
                found.append(value["pattern"])
            for each in value.values():
                look(each)
        elif isinstance(value, list):
            for each in value:
                look(each)

    look(client.get("/openapi.json").json())
    assert len(set(found)) > 8
    assert set(found) <= set(PATTERNS)
    wrong = job(styles=["udnie,great_wave"], output={"name": "x" * 300}, input={}, strength="x", nonsense=1)
    problem = assert_refused(client.post("/v1/jobs", json=wrong), 422)
    details = [each["detail"] for each in problem["errors"]]
    assert len(details) == 5
    for detail in details:
        assert not any(word in detail for word in ("pattern", "^", "Value error", "validation", "Input should"))
    assert problem["detail"] == f"{problem['errors'][0]['pointer']}: {details[0]}"
