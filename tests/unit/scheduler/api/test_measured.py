"""Tests of scheduler.api.measured."""

import pytest
from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.testclient import TestClient

from nst_core.system import traces
from scheduler.api.measured import Measured
from tests.collector import collecting

Seen = list[tuple[str, str, int, float]]


@pytest.fixture
def seen() -> Seen:
    return []


@pytest.fixture
def client(seen: Seen) -> TestClient:
    """A client of an app whose clock ticks by one second."""
    app, router, times = FastAPI(), APIRouter(prefix="/v1/jobs"), iter(range(1000))

    @router.get("/{job_id}")
    def job(job_id: str) -> str:
        if job_id == "broken":
            raise HTTPException(503)
        return job_id

    app.include_router(router)
    app.add_middleware(Measured, observe=lambda *request: seen.append(request), clock=lambda: float(next(times)))
    return TestClient(app)


def test_a_request_has_the_template_of_its_path(client: TestClient, seen: Seen) -> None:
    client.get("/v1/jobs/job_1")
    client.get("/v1/jobs/job_2?x=1")
    assert seen == [("/v1/jobs/{job_id}", "GET", 200, 1.0)] * 2


@pytest.mark.parametrize(("method", "label"), [("POST", "POST"), ("MADE-UP", "other")])
def test_what_clients_make_up_is_no_label(client: TestClient, seen: Seen, method: str, label: str) -> None:
    status = client.request(method, "/made/up").status_code
    assert (status, seen) == (404, [("other", label, 404, 1.0)])


def test_a_request_continues_the_trace_of_its_client_and_probes_have_none(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with traces.sending("nst-scheduler", instance="s"):
            client.get("/v1/jobs/job_1", headers=headers)
            client.get("/v1/jobs/broken")
            client.get("/livez", headers=headers)
    good, broken = collector.spans
    assert (good.trace, good.parent) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert (good.name, good.kind, good.failed) == ("GET /v1/jobs/{job_id}", "server", False)
    assert good.attributes["http.response.status_code"] == 200
    assert (broken.parent, broken.failed, broken.attributes["error.type"]) == ("", True, "503")
