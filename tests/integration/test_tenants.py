"""Tenants: the places that their jobs may use, their limits, and their weights."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from nst_core.client.resources.jobs import JobInput, JobStatus
from nst_core.storage.blobs import BlobUri
from scheduler.access.limits import Limits, check_new_run
from scheduler.domain.errors import QuotaExceededError
from scheduler.domain.keys import new_api_key
from scheduler.store.tenants import Tenant
from tests.integration.conftest import TENANT, Rig
from tests.integration.runs.kit import RunRig


def job(rig: Rig, uri: str = "", **output: Any) -> dict[str, Any]:
    uri = uri or f"s3://nst/{rig.prefix}/open/a.jpg"
    return {"input": {"uris": [uri]}, "styles": ["wave"], "output": output}


def test_a_tenant_is_replaced_as_a_whole_and_shown_with_its_effective_limits(client: TestClient, rig: Rig) -> None:
    assert client.get("/v1/tenants/lab").status_code == 404
    body = {"weight": 2.5, "read": ["s3://nst/photos"], "limits": {"max_unfinished_jobs": None, "burst": 7}}
    put = client.put("/v1/tenants/lab", json=body)
    assert put.status_code == 200
    assert put.json() == client.get("/v1/tenants/lab").json()
    assert (put.json()["weight"], put.json()["read"], put.json()["write"]) == (2.5, ["s3://nst/photos/"], None)
    assert put.json()["overrides"] == {"max_unfinished_jobs": None, "burst": 7}
    assert (put.json()["limits"]["max_unfinished_jobs"], put.json()["limits"]["burst"]) == (None, 7)
    assert put.json()["limits"]["max_upload_bytes"] == Limits().max_upload_bytes
    assert rig.service.tenants.weights() == {"lab": 2.5}
    assert client.put("/v1/tenants/lab", json={}).json()["overrides"] == {}
    assert rig.service.tenants.weights() == {}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"weight": 0.05}, "/weight"),
        ({"weight": 101}, "/weight"),
        ({"read": ["/etc"]}, "/read/0"),
        ({"read": ["s3://b/../x"]}, "/read/0"),
        ({"write": ["s3://b/a", "s3://b/a//b"]}, "/write/1"),
        ({"limits": {"max_items_per_job": -1}}, "/limits/max_items_per_job"),
        ({"limits": {"other": 1}}, "/limits/other"),
        ({"limits": {"requests_per_s": 1e-320}}, "/limits/requests_per_s"),
    ],
)
def test_wrong_values_of_a_tenant_are_refused(client: TestClient, body: dict[str, Any], pointer: str) -> None:
    answer = client.put("/v1/tenants/lab", json=body)
    assert answer.status_code == 422
    assert pointer in [each["pointer"] for each in answer.json()["errors"]]


def test_jobs_read_and_write_only_where_their_tenant_may(client: TestClient, rig: Rig) -> None:
    place = f"s3://nst/{rig.prefix}"
    rig.service.tenants.put(Tenant(id=TENANT, read=(f"{place}/open",), write=(f"{place}/out",)))
    assert client.post("/v1/jobs", json=job(rig)).status_code == 202
    assert client.post("/v1/jobs", json=job(rig, f"s3://nst/tenants/{TENANT}/uploads/a.jpg")).status_code == 202
    assert client.post("/v1/jobs", json=job(rig, prefix=f"{place}/out/here")).status_code == 202
    for uri in (
        f"{place}/closed/a.jpg",
        f"{place}/open-to-others/a.jpg",
        "s3://nst/tenants/other/a.jpg",
        f"{place}/out/a",
    ):
        answer = client.post("/v1/jobs", json=job(rig, uri))
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/input/uris/0"), uri
    for prefix in (f"{place}/open", f"{place}/outer", "s3://other/out", "s3://nst/styles"):
        answer = client.post("/v1/jobs", json=job(rig, prefix=prefix))
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/output/prefix"), prefix
    by_prefix = {"input": {"prefix": f"{place}/"}, "styles": ["wave"]}
    assert client.post("/v1/jobs", json=by_prefix).status_code == 422
    assert client.post("/v1/jobs", json=by_prefix | {"input": {"prefix": f"{place}/open/"}}).status_code == 202


def test_a_broad_place_does_not_include_those_of_other_tenants(client: TestClient, rig: Rig) -> None:
    rig.service.tenants.put(Tenant(id=TENANT, read=("s3://nst/",), write=("s3://nst/",)))
    assert client.post("/v1/jobs", json=job(rig, "s3://nst/tenants/other/uploads/a.jpg")).status_code == 422
    assert client.post("/v1/jobs", json=job(rig, prefix="s3://nst/tenants/other/")).status_code == 422
    assert client.post("/v1/jobs", json={"input": {"prefix": "s3://nst/"}, "styles": ["wave"]}).status_code == 422


def test_manifest_lines_are_limited_to_the_places_too(rig: Rig) -> None:
    place = f"s3://nst/{rig.prefix}"
    rig.service.tenants.put(Tenant(id=TENANT, read=(f"{place}/open",)))
    lines = f'{{"input": "{place}/open/a.jpg"}}\n{{"input": "{place}/closed/b.jpg"}}\n'
    rig.blobs.put(BlobUri("nst", f"{rig.prefix}/open/list.jsonl"), lines.encode())
    job_id = rig.submit(JobInput(manifest=f"{place}/open/list.jsonl"))
    rig.plan()
    items = rig.service.items(TENANT, job_id, limit=10, after=-1)
    assert [item.status for item in items] == ["pending", "failed"]


def limit(rig: Rig, **limits: float | None) -> None:
    rig.service.tenants.put(Tenant(id=TENANT, limits=limits))


def test_tenants_are_listed_by_name_in_pages(client: TestClient, rig: Rig) -> None:
    rig.service.keys.add(new_api_key(), tenant="archive")
    rig.add_tenant("lab")
    rig.add_tenant("archive")
    first = client.get("/v1/tenants?limit=2").json()
    assert [each["id"] for each in first["data"]] == ["archive", TENANT]
    assert (first["has_more"], first["last_id"]) == (True, TENANT)
    rest = client.get("/v1/tenants", params={"after_id": TENANT}).json()
    assert ([each["id"] for each in rest["data"]], rest["has_more"]) == (["lab"], False)


def test_unfinished_jobs_are_limited(client: TestClient, rig: Rig) -> None:
    limit(rig, max_unfinished_jobs=2)
    first = client.post("/v1/jobs", json=job(rig)).json()["id"]
    assert client.post("/v1/jobs", json=job(rig)).status_code == 202
    answer = client.post("/v1/jobs", json=job(rig))
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert answer.headers["Retry-After"] == "30"
    client.post(f"/v1/jobs/{first}/cancel")
    rig.plan()
    rig.finalizer.tick()
    assert client.post("/v1/jobs", json=job(rig)).status_code == 202


def test_items_per_job_and_waiting_items_are_limited_at_submission(client: TestClient, rig: Rig) -> None:
    limit(rig, max_items_per_job=2, max_queued_items=3)
    body = job(rig) | {"input": {"uris": [f"s3://nst/{rig.prefix}/{number}.jpg" for number in range(2)]}}
    assert client.post("/v1/jobs", json=body).status_code == 202
    too_many = client.post("/v1/jobs", json=body | {"styles": ["wave", "udnie"]})
    assert (too_many.status_code, too_many.json()["code"]) == (429, "quota_exceeded")
    assert "Retry-After" not in too_many.headers, "it never passes"
    rig.plan()
    assert client.post("/v1/jobs", json=body).status_code == 429
    assert client.post("/v1/jobs", json=job(rig)).status_code == 202


def test_a_job_that_proves_too_large_fails_but_its_planned_items_are_done(rig: Rig) -> None:
    limit(rig, max_items_per_job=10)
    for number in range(17):
        rig.blobs.put(BlobUri("nst", f"{rig.prefix}/many/{number:02}.jpg"), b"x")
    job_id = rig.submit(JobInput(prefix=f"s3://nst/{rig.prefix}/many/"))
    rig.run_to_end()
    found = rig.job(job_id)
    assert (found.status, found.error_code) == (JobStatus.PARTIALLY_SUCCEEDED, "quota_exceeded")
    assert found.counts.succeeded == found.counts.total == 8


def test_planning_waits_while_too_many_items_wait(rig: Rig) -> None:
    limit(rig, max_queued_items=12)
    for number in range(20):
        rig.blobs.put(BlobUri("nst", f"{rig.prefix}/queue/{number:02}.jpg"), b"x")
    job_id = rig.submit(JobInput(prefix=f"s3://nst/{rig.prefix}/queue/"))
    rig.plan()
    assert rig.job(job_id).counts.total == 8
    for _ in range(4):
        rig.run_to_end()
        rig.clock.advance(5.0)
    found = rig.job(job_id)
    assert (found.status, found.counts.succeeded) == (JobStatus.SUCCEEDED, 20)


def test_unfinished_trainings_are_limited(client: TestClient, rig: Rig) -> None:
    limit(rig, max_unfinished_runs=1)
    run_id = RunRig(rig).add()
    RunRig(rig).change(run_id, checkpoint_uri="s3://nst/c", checkpoint_sha256="0" * 64, step=10)
    usage = client.get("/v1/tenant").json()["usage"]
    assert usage["unfinished_runs"] == 1
    with rig.database.write() as connection, pytest.raises(QuotaExceededError):
        check_new_run(connection, TENANT, limits=rig.service.tenants.limits(TENANT))
    with rig.database.write() as connection:
        check_new_run(connection, "other", limits=rig.service.tenants.limits(TENANT))


def test_the_pixels_of_results_are_limited(client: TestClient, rig: Rig) -> None:
    limit(rig, max_result_pixels=1_000_000)
    assert client.post("/v1/jobs", json=job(rig, max_px=1000)).status_code == 202
    for output in ({}, {"max_px": 1001}):
        answer = client.post("/v1/jobs", json=job(rig) | {"output": output})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/output/max_px")


def test_the_pixels_of_results_are_counted_after_they_are_enlarged(client: TestClient, rig: Rig) -> None:
    limit(rig, max_result_pixels=1_000_000)
    for upscale, most in ((2, 500), (4, 250)):
        asked = job(rig) | {"upscale": upscale}
        good, bad = ({**asked, "output": {"max_px": px}} for px in (most, most + 1))
        assert client.post("/v1/jobs", json=good).status_code == 202
        assert client.post("/v1/jobs?validate=true&objects=false", json=good).json()["valid"]
        answer = client.post("/v1/jobs", json=bad)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/output/max_px")
        assert f"up to {most} px before" in answer.json()["detail"]
        [problem] = client.post("/v1/jobs?validate=true", json=bad).json()["problems"]
        assert problem["pointer"] == "/output/max_px"


def test_an_optimised_image_is_limited_by_its_own_size(client: TestClient, rig: Rig) -> None:
    limit(rig, max_result_pixels=1_000_000)
    painting = f"s3://nst/{rig.prefix}/painting.png"
    rig.blobs.put(BlobUri.parse(painting), b"x")
    asked = {"input": job(rig)["input"], "method": "optimize", "paintings": [painting]}
    for size_px, status in ((1000, 202), (1001, 422), (None, 422)):
        answer = client.post("/v1/jobs", json=asked | {"optimize": {"options": {"size_px": size_px}}})
        assert answer.status_code == status, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/optimize/options/size_px"


def test_too_many_requests_of_a_key_must_wait(client: TestClient, rig: Rig) -> None:
    limit(rig, requests_per_s=2, burst=3)
    left = [client.get("/v1/jobs").headers["RateLimit-Remaining"] for _ in range(3)]
    assert left == ["2", "1", "0"]
    answer = client.get("/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    names = ("Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
    assert [answer.headers[name] for name in names] == ["1", "3", "0", "1"]
    assert client.get("/livez").status_code == 200
    rig.clock.advance(0.5)
    assert client.get("/v1/jobs").status_code == 200
    assert client.get("/v1/jobs").status_code == 429
