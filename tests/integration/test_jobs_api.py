"""Jobs over HTTP: ids chosen by clients, filters, waiting, pauses, retries and zip files."""

import io
import json
import threading
import time
import zipfile

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from nst_core.storage.blobs import BlobUri
from tests.integration.conftest import Rig, finished, started
from tests.integration.job_kit import body, end_with_images, failing, submit


def test_put_is_accepted_once_and_found_by_its_id(client: TestClient, rig: Rig) -> None:
    first = client.put("/v1/jobs/spring.2026", json=body(rig))
    again = client.put("/v1/jobs/spring.2026", json=body(rig))
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json() == again.json() == client.get("/v1/jobs/spring.2026").json()
    assert first.json()["client_id"] == "spring.2026"
    assert first.headers["Location"] == f"/v1/jobs/{first.json()['id']}"
    other = client.put("/v1/jobs/spring.2026", json=body(rig, 2))
    assert (other.status_code, other.json()["code"]) == (409, "job_exists")
    assert client.put("/v1/jobs/job_1", json=body(rig)).json()["code"] == "request_invalid"
    end_with_images(rig)
    for path in ("items", "items/0/output", "results", "errors", "results.zip"):
        assert client.get(f"/v1/jobs/spring.2026/{path}").status_code == 200, path


def test_pause_resume_and_retry_over_http(client: TestClient, rig: Rig) -> None:
    job_id = submit(client, rig, 3)
    assert client.post(f"/v1/jobs/{job_id}/pause").json()["status"] == "paused"
    assert client.post(f"/v1/jobs/{job_id}/resume").json()["status"] == "queued"
    assert client.post(f"/v1/jobs/{job_id}/retry").json()["code"] == "conflict"
    rig.plan()
    rig.dispatcher.tick()
    [chunk] = rig.take_all()
    rig.report(started(chunk), finished(chunk, failing(1)))
    rig.finalizer.tick()
    assert client.post(f"/v1/jobs/{job_id}/pause").status_code == 409
    nothing = client.post(f"/v1/jobs/{job_id}/retry", json={"codes": ["blob_not_found"]})
    assert (nothing.status_code, nothing.json()["code"]) == (409, "nothing_to_retry")
    assert client.post(f"/v1/jobs/{job_id}/retry", json={"all": True}).status_code == 422
    again = client.post(f"/v1/jobs/{job_id}/retry")
    assert (again.status_code, again.json()["status"]) == (202, "running")
    end_with_images(rig)
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "succeeded"


def test_jobs_are_filtered(client: TestClient, rig: Rig) -> None:
    spring = submit(client, rig, metadata={"album": "spring", "who": "ann"})
    summer = submit(client, rig, metadata={"album": "summer", "who": "ann"})
    painted = client.post(
        "/v1/jobs",
        json={
            "input": {"uris": [f"s3://nst/{rig.prefix}/a.jpg"]},
            "method": "optimize",
            "paintings": [f"s3://nst/{rig.prefix}/p.png"],
        },
    ).json()["id"]
    client.post(f"/v1/jobs/{summer}/cancel")

    def found(**query: str) -> list[str]:
        answer = client.get("/v1/jobs", params=query)
        assert answer.status_code == 200, answer.text
        return [job["id"] for job in answer.json()["data"]]

    assert found(**{"metadata.album": "spring"}) == [spring]
    assert found(**{"metadata.who": "ann"}) == [summer, spring]
    assert found(**{"metadata.who": "ann", "metadata.album": "summer"}) == [summer]
    assert found(**{"metadata.album": "ann"}) == []
    assert found(status="finalizing") == [summer]
    assert found(method="optimize") == [painted]
    created = client.get(f"/v1/jobs/{summer}").json()["created_at"]
    assert found(created_after=created, method="feedforward") == [summer]
    assert found(created_before=created) == [spring]
    for wrong in (
        {"metadata.": "x"},
        {"metadata.a": "\0"},
        {"created_after": "2026-01-01T00:00:00"},
        {"status": "x"},
        {"method": "x"},
    ):
        assert client.get("/v1/jobs", params=wrong).status_code == 422, wrong


def test_items_are_filtered(client: TestClient, rig: Rig) -> None:
    job_id = submit(client, rig, 4, styles=["wave", "udnie"])
    rig.plan()
    rig.dispatcher.tick()
    for chunk in rig.take_all():
        rig.report(started(chunk), finished(chunk, failing(2, 3)))

    def found(**query: str) -> list[int]:
        return [item["id"] for item in client.get(f"/v1/jobs/{job_id}/items", params=query).json()["data"]]

    assert found(code="image_undecodable") == [2, 3]
    assert found(code="image_undecodable", style="udnie") == [3]
    assert found(style="wave", status="succeeded") == [0, 4, 6]
    assert (found(style="none"), found(code="none")) == ([], [])


def test_answer_waits_for_the_end_of_the_job(client: TestClient, rig: Rig) -> None:
    job_id = submit(client, rig)
    threading.Timer(0.3, end_with_images, [rig]).start()
    answer = client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"})
    assert (answer.json()["status"], answer.headers["Preference-Applied"]) == ("succeeded", "wait=30")
    assert client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"}).json()["status"] == "succeeded"


def test_answer_comes_when_the_wait_is_over(client: TestClient, rig: Rig) -> None:
    begun = time.monotonic()
    answer = client.post("/v1/jobs", json=body(rig), headers={"Prefer": "respond-async, wait=1"})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert time.monotonic() - begun >= 1
    assert answer.headers["Preference-Applied"] == "wait=1"


@pytest.mark.parametrize("preference", ["", "wait=", "wait=x", "wait=0", "respond-async"])
def test_unknown_preferences_are_not_applied(client: TestClient, rig: Rig, preference: str) -> None:
    answer = client.get(f"/v1/jobs/{submit(client, rig)}", headers={"Prefer": preference})
    assert answer.status_code == 200
    assert "Preference-Applied" not in answer.headers


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/v1/jobs?state=failed", "/state"),
        ("/v1/jobs?status=failed&status=succeeded", "/status"),
        ("/v1/jobs?metadata.album=a&limits=2", "/limits"),
        ("/v1/styles?metadata.album=a", "/metadata.album"),
        ("/v1/jobs/none?x", "/x"),
    ],
)
def test_an_unknown_parameter_is_refused(client: TestClient, path: str, pointer: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_the_latest_deadline_can_be_shown(client: TestClient, rig: Rig) -> None:
    submit(client, rig, deadline="9998-12-31T00:00:00+00:00")
    assert client.get("/v1/jobs").json()["data"][0]["deadline"] == "9998-12-31T00:00:00Z"


def test_a_date_beyond_the_calendar_breaks_no_list(client: TestClient, rig: Rig) -> None:
    job_id = submit(client, rig)
    with rig.database.write() as connection:
        connection.execute(text("UPDATE jobs SET deadline = 1e18 WHERE id = :id"), {"id": job_id})
    assert client.get("/v1/jobs").json()["data"][0]["deadline"] == "9998-12-31T00:00:00Z"


def test_zip_contains_every_image_and_the_reports(client: TestClient, rig: Rig) -> None:
    for name in ("a.jpg", "sub/a.jpg", "c.jpg"):
        rig.blobs.put(BlobUri("nst", f"{rig.prefix}/in/{name}"), b"x")
    job_id = submit(client, rig, input={"prefix": f"s3://nst/{rig.prefix}/in/"})
    assert client.get(f"/v1/jobs/{job_id}/results.zip").json()["code"] == "conflict"
    end_with_images(rig)
    answer = client.get(f"/v1/jobs/{job_id}/results.zip", params={"status": "succeeded"})
    assert (answer.headers["content-type"], "Link" in answer.headers) == ("application/zip", False)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "a__wave.jpg",
            "c__wave.jpg",
            "sub/a__wave.jpg",
            "results.jsonl",
            "errors.jsonl",
        ]
        assert archive.read("sub/a__wave.jpg") == b"x" * 1002
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.read("results.jsonl") == client.get(f"/v1/jobs/{job_id}/results").content


def test_an_output_that_another_job_replaced_is_not_returned(client: TestClient, rig: Rig) -> None:
    output = {"prefix": f"s3://nst/{rig.prefix}/out/"}
    first = submit(client, rig, 1, output=output)
    end_with_images(rig)
    before = client.get(f"/v1/jobs/{first}/results").content
    item = json.loads(before)
    second = submit(client, rig, 2, output=output)
    end_with_images(rig)
    rig.blobs.put(BlobUri.parse(item["output"]), b"of another quality")
    assert client.get(f"/v1/jobs/{first}/results").content == before
    assert len(client.get(f"/v1/jobs/{second}/results").content.splitlines()) == 2
    answer = client.get(f"/v1/jobs/{first}/items/0/output")
    assert (answer.status_code, answer.json()["code"]) == (409, "output_replaced")
    with zipfile.ZipFile(io.BytesIO(client.get(f"/v1/jobs/{first}/results.zip").content)) as archive:
        assert archive.namelist() == ["results.jsonl", "errors.jsonl", "missing.jsonl"]


def test_zip_of_a_long_job_comes_in_parts_and_lists_missing_images(client: TestClient, rig: Rig) -> None:
    job_id = submit(client, rig, 5)
    end_with_images(rig)
    item = client.get(f"/v1/jobs/{job_id}/items").json()["data"][1]
    rig.blobs.delete(BlobUri.parse(item["output"]))
    path, names = f"/v1/jobs/{job_id}/results.zip?limit=2", []
    while path:
        answer = client.get(path)
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            names += archive.namelist()
            if "missing.jsonl" in archive.namelist():
                assert json.loads(archive.read("missing.jsonl")) == {"id": 1, "output": item["output"]}
        path = answer.headers.get("Link", "").partition(">")[0].removeprefix("<")
    assert [name for name in names if name.endswith(".jpg")] == [f"{number}__wave.jpg" for number in (0, 2, 3, 4)]
    assert names.count("results.jsonl") == 3
