"""Every error of the API is a problem document, whether routes, the framework, parsing or a bug cause it."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nst_core.system.logs import JsonFormatter
from scheduler.api import problems
from scheduler.api.openapi import operations
from scheduler.store.tenants import Tenant
from tests.integration.conftest import Rig


def check(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Check the fields that every problem has, and return the answer's problem."""
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["status"], problem["code"]) == (status, status, code), problem
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]
    assert code in {each.code for each in problems.codes()}
    return problem


def test_errors_of_the_framework_are_problems_too(client: TestClient) -> None:
    assert check(client.get("/v1/nothing/a%20b"), 404, "not_found")["instance"] == "/v1/nothing/a%20b"
    check(client.get("/elsewhere"), 404, "not_found")
    answer = client.delete("/v1/jobs")
    check(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, POST"
    check(client.get("/v1/jobs/%00"), 422, "request_invalid")


@pytest.mark.parametrize("body", [b"{", b"", b"\xff", b"nonsense", b"[" * 100_000, b'{"a": "\x00"}'])
def test_malformed_json_is_reported(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in ((400,) if body else (422,))
    check(answer, answer.status_code, "malformed_json" if body else "request_invalid")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"])
def test_a_body_of_an_unsupported_media_type_is_reported(client: TestClient, kind: str) -> None:
    check(client.post("/v1/jobs", content=b"{}", headers={"Content-Type": kind}), 415, "unsupported_media_type")
    check(client.post("/v1/jobs", content=b"{}"), 415, "unsupported_media_type")


def test_wrong_fields_are_named_by_json_pointers(client: TestClient) -> None:
    body = {"input": {"uris": ["s3://nst/a"]}, "styles": ["wave"], "metadata": {"a/b~c": 1}, "~/": 1}
    answer = client.post("/v1/jobs", content=json.dumps(body), headers={"Content-Type": "application/json"})
    pointers = [each["pointer"] for each in check(answer, 422, "request_invalid")["errors"]]
    assert "/metadata/a~1b~0c" in pointers
    assert "/~0~1" in pointers


def test_a_client_may_name_its_request(client: TestClient) -> None:
    assert client.get("/livez", headers={"X-Request-Id": "a.B-3_"}).headers["X-Request-Id"] == "a.B-3_"
    made = {client.get("/livez").headers["X-Request-Id"] for _ in range(2)}
    assert len(made) == 2
    for wrong in ("", "a" * 65, "a b", "ä", "a/b"):
        answer = client.get("/livez", headers={b"X-Request-Id": wrong.encode("latin-1")})
        assert answer.headers["X-Request-Id"].startswith("req_")


def test_a_bug_is_a_problem_whose_id_is_in_the_log(
    client: TestClient, rig: Rig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        logging.getLogger("scheduler").warning("about to break")
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(rig.service, "jobs", broken)
    monkeypatch.setattr(caplog.handler, "formatter", JsonFormatter())
    answer = client.get("/v1/jobs", headers={"X-Request-Id": "mine"})
    assert "secret" not in json.dumps(check(answer, 500, "internal"))
    lines = [line for line in map(json.loads, caplog.text.splitlines()) if line["logger"].startswith("scheduler")]
    assert [line["message"] for line in lines] == ["about to break", "GET /v1/jobs failed"]
    assert [(line["request_id"], line.get("tenant")) for line in lines] == [("mine", "default"), ("mine", None)]
    assert "ZeroDivisionError: a secret" in lines[1]["exception"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_body_over_the_limit_is_refused_with_and_without_a_length(client: TestClient, rig: Rig) -> None:
    rig.service.tenants.put(Tenant(id="default", limits={"max_body_bytes": 1000}))
    large = json.dumps({"input": {"prefix": "s3://nst/" + "a" * 1000}, "styles": ["wave"]}).encode()
    headers = {"Content-Type": "application/json"}
    check(client.post("/v1/jobs", content=large, headers=headers), 413, "too_large")
    pieces = (large[start : start + 100] for start in range(0, len(large), 100))
    check(client.post("/v1/jobs", content=pieces, headers=headers), 413, "too_large")
    # Files have a limit of their own.
    upload = client.post("/v1/uploads").json()["id"]
    assert client.put(f"/v1/uploads/{upload}/a.jpg", content=large).status_code == 201


def test_all_codes_are_listed_with_their_meaning(client: TestClient) -> None:
    listed = client.get("/v1/errors", headers={"Authorization": ""}).json()["data"]
    codes = {each["code"]: each for each in listed}
    assert len(codes) == len(listed)
    assert codes["key_expired"]["status"] == 401
    assert codes["blob_unavailable"]["status"] == 503
    # Codes of items, jobs and runs.
    for code in ("worker_lost", "output_name_taken", "image_undecodable", "engine_failed", "training_diverged"):
        assert codes[code]["status"] is None
    assert all(each["meaning"].endswith(".") for each in listed)


#: Errors of sending and of receiving webhooks. Requests about webhooks have other errors.
NEVER_ANSWERED = {"AddressError", "SendError", "SealedError", "SignatureError", "UnreachableError"}


def test_every_error_that_the_api_can_raise_is_in_the_list() -> None:
    script = (
        "import scheduler.api.app\nfrom nst_core.errors import NstError\nfrom scheduler.api.problems import codes\n"
        "known, found = {each.code for each in codes()}, [NstError]\n"
        "for cls in found: found.extend(cls.__subclasses__())\n"
        "assert len(found) > 20\n"
        "print(*(cls.__name__ for cls in found if 'code' in vars(cls) and cls.code not in known))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == NEVER_ANSWERED


def test_the_document_has_one_schema_of_problems_and_each_routes_statuses(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "HTTPValidationError" not in document["components"]["schemas"]
    for path, method, operation in operations(document):
        statuses = set(operation["responses"])
        if operation.get("security"):
            assert {"401", "429", "503"} <= statuses, (method, path)
            assert ("403" in statuses) == any(each["HTTPBearer"] for each in operation["security"])
        if "requestBody" in operation:
            assert {"400", "413", "415"} <= statuses, (method, path)
        for status in statuses:
            if int(status) >= 400 and path != "/readyz":
                content = operation["responses"][status]["content"]["application/problem+json"]
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        assert operation["summary"], (method, path)
        assert operation["summary"] != operation["operationId"]


def test_browsers_download_weights_instead_of_showing_them(client: TestClient, rig: Rig) -> None:
    rig.service.styles.register_shipped()
    answer = client.get("/v1/styles/udnie/weights")
    assert answer.headers["Content-Disposition"].startswith("attachment")
    listed = client.get("/v1/styles")
    assert "Content-Disposition" not in listed.headers
    assert listed.headers["X-Content-Type-Options"] == "nosniff"
