"""Tests of scheduler.api.measured."""

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient

from scheduler.api.measured import Measured

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
