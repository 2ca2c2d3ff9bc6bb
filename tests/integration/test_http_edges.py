"""HTTP details: HEAD, names that are not UTF-8, readiness probes, and the wording of messages."""

import threading

import pytest
from fastapi.testclient import TestClient

from nst_core.client.answers import refusal
from scheduler.api.readiness import Readiness
from tests.integration.conftest import Rig
from tests.integration.job_kit import end_with_images

sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@sqlite
def test_head_is_get_without_a_body(client: TestClient, rig: Rig) -> None:
    job_id = rig.submit(1)
    end_with_images(rig)
    for path in (f"/v1/jobs/{job_id}/items/0/output", f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/results", "/livez"):
        head, get = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("Content-Type", "Content-Length", "ETag"):
            assert head.headers.get(name) == get.headers.get(name), (path, name)
    output = client.head(f"/v1/jobs/{job_id}/items/0/output")
    assert (output.headers["Content-Length"], output.headers["Content-Type"]) == ("1000", "image/jpeg")
    assert client.head("/v1/jobs/none").status_code == 404
    assert client.head(f"/v1/jobs/{job_id}/cancel").status_code == 405
    assert client.head("/v1/jobs", headers={"Authorization": ""}).status_code == 401


@sqlite
@pytest.mark.parametrize("path", ["/v1/jobs/%FF", "/v1/uploads/upl_000000000000000000000000/%FF.jpg", "/v1/jobs?x=%FF"])
def test_an_address_that_is_not_utf_8_is_refused(client: TestClient, rig: Rig, path: str) -> None:
    answer = client.put(path, content=b"x") if "uploads" in path else client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert "UTF-8" in answer.json()["detail"]


@sqlite
@pytest.mark.parametrize(
    ("name", "words"), [("wav", "Did you mean wave?"), ("wave@00000000", "version"), ("zzz", "There are udnie, wave.")]
)
def test_an_unknown_style_comes_with_a_suggestion(client: TestClient, name: str, words: str) -> None:
    body = {"input": {"uris": ["s3://nst/a.jpg"]}, "styles": [name]}
    assert words in client.post("/v1/jobs", json=body).json()["detail"]


@sqlite
def test_a_message_appears_once_in_an_answer(client: TestClient) -> None:
    answer = client.post("/v1/jobs", json={"input": {"uris": ["s3://nst/a.jpg"]}, "styles": ["none"]})
    found = refusal(answer)  # type: ignore[arg-type]
    assert found.message.count("There is no style") == 1
    assert "/styles/0" in found.message
    several = client.post("/v1/jobs", json={"input": {"uris": ["s3://nst/a.jpg"]}, "strength": "x", "nonsense": 1})
    message = refusal(several).message  # type: ignore[arg-type]
    assert message.count("This is a number.") == message.count("There is no such field.") == 1


def test_readiness_is_checked_once_a_second_by_one_thread() -> None:
    now, looks, gate = [0.0], [], threading.Event()
    readiness = Readiness(clock=lambda: now[0])

    def look() -> dict[str, str]:
        looks.append(now[0])
        if len(looks) == 2:
            assert gate.wait(30)
        return {"database": f"look {len(looks)}"}

    first = {"database": "look 1"}
    assert [readiness.checks(look) for _ in range(3)] == [first] * 3
    now[0] = 1.5
    slow = threading.Thread(target=readiness.checks, args=(look,))
    slow.start()
    while len(looks) < 2:
        pass
    assert readiness.checks(look) == first  # other requests do not wait for the one that checks
    gate.set()
    slow.join()
    assert readiness.checks(look) == {"database": "look 2"}
    assert looks == [0.0, 1.5]


def test_a_readiness_check_that_hangs_is_not_hidden_by_the_previous_result() -> None:
    now, gate, looks = [0.0], threading.Event(), []
    readiness = Readiness(clock=lambda: now[0])

    def look() -> dict[str, str]:
        looks.append(now[0])
        assert len(looks) != 2 or gate.wait(30)
        return {"database": "ok"}

    assert readiness.checks(look) == {"database": "ok"}
    now[0] = 100.0
    hanging = threading.Thread(target=readiness.checks, args=(look,))
    hanging.start()
    while len(looks) < 2:
        pass
    now[0] = 109.0
    assert readiness.checks(look) == {"database": "ok"}
    now[0] = 111.0
    assert readiness.checks(look) == {"database": "ok", "readiness": "timed_out"}
    gate.set()
    hanging.join()
    assert readiness.checks(look) == {"database": "ok"}
