"""The HTTP API with a real service: keys, tenants, errors, pages."""

import base64
import hashlib
import secrets
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from nst_core.settings import BrokerSettings
from nst_core.storage.blobs import BlobUri
from scheduler.access.keys import Keys
from scheduler.domain.keys import new_api_key
from scheduler.local.servers import HOST, free_port
from scheduler.store.database import Database
from scheduler.store.tenants import Tenant
from tests.brokers import Broker
from tests.integration.conftest import TENANT, Rig, client_of
from tests.integration.job_kit import body, end_with_images

MAX_UPLOAD_BYTES = 1000


@pytest.fixture
def client(rig: Rig, client: TestClient) -> TestClient:
    rig.service.tenants.put(Tenant(id=TENANT, limits={"max_upload_bytes": MAX_UPLOAD_BYTES}))
    return client


@pytest.fixture
def stranger(rig: Rig) -> Iterator[TestClient]:
    with client_of(rig, tenant="stranger") as client:
        yield client


def test_submitted_job_is_accepted_with_its_location(client: TestClient, rig: Rig) -> None:
    answer = client.post("/v1/jobs", json=body(rig, metadata={"album": "spring"}))
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert (job["status"], job["metadata"], job["started_at"]) == ("queued", {"album": "spring"}, None)
    assert client.get(answer.headers["Location"]).json() == job


def test_finished_job_has_items_images_and_reports(client: TestClient, rig: Rig) -> None:
    job_id = client.post("/v1/jobs", json=body(rig, 3)).json()["id"]
    assert client.get(f"/v1/jobs/{job_id}/results").json()["code"] == "conflict"
    end_with_images(rig)
    job = client.get(f"/v1/jobs/{job_id}").json()
    assert job["status"] == "succeeded"
    assert job["counts"] == {
        "total": 3,
        "pending": 0,
        "running": 0,
        "succeeded": 3,
        "failed": 0,
        "cancelled": 0,
    }
    image = client.get(f"/v1/jobs/{job_id}/items/2/output")
    assert (image.content, image.headers["content-type"]) == (b"x" * 1002, "image/jpeg")
    assert len(client.get(f"/v1/jobs/{job_id}/results").text.splitlines()) == 3
    assert client.get(f"/v1/jobs/{job_id}/errors").text == ""


def test_items_are_listed_in_pages(client: TestClient, rig: Rig) -> None:
    job_id = client.post("/v1/jobs", json=body(rig, 7)).json()["id"]
    rig.plan()
    seen: list[int] = []
    after = -1
    while True:
        page = client.get(f"/v1/jobs/{job_id}/items", params={"limit": 3, "after_id": after}).json()
        seen += [item["id"] for item in page["data"]]
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        if not page["has_more"]:
            break
        after = page["last_id"]
    assert seen == list(range(7))


def test_jobs_are_listed_newest_first_in_pages(client: TestClient, rig: Rig) -> None:
    ids = []
    for _ in range(5):
        rig.clock.advance(1)
        ids.append(client.post("/v1/jobs", json=body(rig)).json()["id"])
    first = client.get("/v1/jobs", params={"limit": 2}).json()
    rest = client.get("/v1/jobs", params={"limit": 10, "after_id": first["last_id"]}).json()
    assert [job["id"] for job in first["data"] + rest["data"]] == ids[::-1]
    assert (first["has_more"], rest["has_more"]) == (True, False)


def test_cancel_is_idempotent(client: TestClient, rig: Rig) -> None:
    job_id = client.post("/v1/jobs", json=body(rig)).json()["id"]
    for _ in range(2):
        answer = client.post(f"/v1/jobs/{job_id}/cancel")
        assert answer.status_code == 202
        assert answer.json()["status"] in ("cancelling", "finalizing")
    end_with_images(rig)
    assert client.get(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"


def test_same_idempotency_key_replays_the_job(client: TestClient, rig: Rig) -> None:
    first, again = (client.post("/v1/jobs", json=body(rig), headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    other = client.post("/v1/jobs", json=body(rig, 2), headers={"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"styles": []}, "/styles"),
        ({"styles": ["none"]}, "/styles/0"),
        ({"strength": 1.5}, "/strength"),
        ({"unknown": 1}, "/unknown"),
        ({"input": {}}, "/input"),
        ({"input": {"uris": []}}, "/input/uris"),
        ({"input": {"uris": ["s3://nst/a.jpg"] * 1001}}, "/input/uris"),
        ({"input": {"uris": ["/etc/passwd"]}}, "/input/uris/0"),
        ({"output": {"format": "bmp"}}, "/output/format"),
        ({"output": {"name": "{x}.{ext}"}}, "/output/name"),
        ({"output": {"max_px": 4}}, "/output/max_px"),
        ({"metadata": {"k": "v" * 513}}, "/metadata/k"),
        ({"metadata": {"": "v"}}, "/metadata//[key]"),
    ],
)
def test_wrong_field_is_one_problem_that_points_to_the_field(
    client: TestClient, rig: Rig, changes: dict[str, object], pointer: str
) -> None:
    answer = client.post("/v1/jobs", json=body(rig) | changes)
    problem = answer.json()
    assert answer.status_code == problem["status"] == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "request_invalid"
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert client.get("/v1/jobs").json()["data"] == []


def test_upload_is_stored_under_the_prefix_of_its_tenant(client: TestClient, stranger: TestClient, rig: Rig) -> None:
    upload = client.post("/v1/uploads").json()
    answer = client.put(f"/v1/uploads/{upload['id']}/sub/a%20b.jpg", content=b"bytes")
    assert answer.status_code == 201
    assert answer.json()["uri"] == upload["prefix"] + "sub/a b.jpg"
    assert rig.blobs.get(BlobUri.parse(answer.json()["uri"])) == b"bytes"
    theirs = stranger.put(f"/v1/uploads/{upload['id']}/sub/a.jpg", content=b"other").json()["uri"]
    assert theirs.startswith("s3://nst/tenants/stranger/")


@pytest.mark.parametrize("path", ["%2e%2e/x.jpg", "a//b.jpg", "a%5Cb.jpg", "a%00b.jpg", "x" * 1025])
def test_upload_to_an_unsafe_path_is_refused(client: TestClient, path: str) -> None:
    upload = client.post("/v1/uploads").json()
    answer = client.put(f"/v1/uploads/{upload['id']}/{path}", content=b"x")
    assert answer.status_code == 422


def test_upload_with_a_chosen_id_lists_its_files(client: TestClient, stranger: TestClient) -> None:
    place = f"/v1/uploads/upl_{secrets.token_hex(12)}"
    assert client.get(f"{place}/files").json()["data"] == []
    for path in ("b.jpg", "a/é 1.jpg", "c.jpg"):
        client.put(f"{place}/{path}", content=path.encode())
    assert client.put(place).json() == client.put(place).json()
    first = client.get(f"{place}/files", params={"limit": 2}).json()
    assert (first["data"], first["has_more"]) == (
        [{"path": "a/é 1.jpg", "bytes": 10}, {"path": "b.jpg", "bytes": 5}],
        True,
    )
    rest = client.get(f"{place}/files", params={"after_id": first["last_id"]}).json()
    assert [file["path"] for file in rest["data"]] == ["c.jpg"]
    assert stranger.get(f"{place}/files").json()["data"] == []
    assert client.put("/v1/uploads/holiday").status_code == 404
    assert client.get(f"{place}/files", params={"after_id": "../../x"}).status_code == 422


def test_upload_whose_digest_does_not_match_its_body_is_refused(client: TestClient) -> None:
    place = f"/v1/uploads/upl_{secrets.token_hex(12)}"

    def put(digest: str) -> int:
        return client.put(f"{place}/a.jpg", content=b"photo", headers={"Content-Digest": digest}).status_code

    right, wrong = (base64.b64encode(hashlib.sha256(body).digest()).decode() for body in (b"photo", b"other"))
    assert put(f"sha-256=:{wrong}:") == 422
    assert put(f"md5=:AAAA:, sha-256=:{wrong}:") == 422
    assert client.get(f"{place}/files").json()["data"] == []
    assert [put(f"sha-256=:{right}:"), put("md5=:AAAA:"), put("nonsense")] == [201, 201, 201]


def test_upload_over_the_limit_is_refused(client: TestClient) -> None:
    upload = client.post("/v1/uploads").json()
    answer = client.put(f"/v1/uploads/{upload['id']}/a.jpg", content=b"x" * (MAX_UPLOAD_BYTES + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_styles_are_listed_with_their_cards(client: TestClient) -> None:
    data = client.get("/v1/styles").json()["data"]
    assert [(style["name"], style["card"]["title"]) for style in data] == [("udnie", "udnie"), ("wave", "wave")]
    assert client.get("/v1/styles/wave").json() == data[1]
    assert client.get("/v1/styles/none").json()["code"] == "not_found"


def test_api_accepts_jobs_while_redis_is_down(rig: Rig) -> None:
    # As in the scheduler, where the broker of the API gives up soon.
    down = Broker(BrokerSettings.model_validate({"redis_url": f"redis://{HOST}:{free_port()}/0"}), patient=False)
    with client_of(rig, broker=down) as client:
        assert client.get("/livez").status_code == 200
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["checks"]["database"] == "ok"
        assert ready.json()["checks"]["broker"] != "ok"
        assert client.post("/v1/jobs", json=body(rig)).status_code == 202
    down.close()


def test_api_answers_503_with_retry_after_while_the_database_is_down(rig: Rig) -> None:
    gone = Database(f"postgresql://nst@{HOST}:{free_port()}/nst")
    rig.service.keys = Keys(gone, clock=rig.clock)
    with client_of(rig, key=new_api_key()) as client:
        answer = client.get("/v1/jobs")
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert answer.headers["Retry-After"]
    gone.close()


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/jobs/x/items?after_id={2**63}",
        f"/v1/jobs/x/items/{2**63}/output",
        "/v1/jobs/%00",
        "/v1/jobs?after_id=%00",
        "/v1/styles/%00",
        "/v1/jobs/%F0%9F%98%80",
    ],
)
def test_address_that_the_database_cannot_store_is_refused(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


def test_missing_output_is_a_problem_not_an_empty_answer(client: TestClient, rig: Rig) -> None:
    job_id = client.post("/v1/jobs", json=body(rig)).json()["id"]
    rig.run_to_end()  # the worker stores nothing
    answer = client.get(f"/v1/jobs/{job_id}/items/0/output")
    assert (answer.status_code, answer.json()["code"]) == (502, "blob_not_found")


def test_unknown_path_is_a_problem_too(client: TestClient) -> None:
    answer = client.get("/v2/jobs")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
