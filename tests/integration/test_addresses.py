"""Addresses that some storage would resolve to another place are refused, whatever their source."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nst_core.client.resources.jobs import JobInput
from nst_core.errors import ConfigError
from nst_core.storage.blobs import BlobUri
from scheduler.api.app import make_api
from scheduler.domain.addresses import check_address
from scheduler.domain.keys import new_api_key
from scheduler.jobs.inputs import InputEntry
from scheduler.jobs.planner import plan_items
from scheduler.store.tenants import Tenant
from tests.integration.conftest import Rig

sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

#: What replaces X in s3://nst/tenants/alice/X/a.jpg.
TRICKS = [
    "..",
    ".",
    "",
    "../bob",
    "x/../../bob",
    "..\\bob",
    "x\\y",
    "a\x01b",
    "a\x7fb",
    "a\nb",
    "%2e%2e",
    "%2E.",
    ".%2e",
    "%2e",
    "%252e%252e",
    "%25252e%25252e",
    "..%2fbob",
    "x%2Fy",
    "x%5cy",
    "x%255Cy",
    "x%00y",
    "x%0ay",
    "%2525252525252e%2e",
]
FINE = ["x", "...", ".x", "x.", "..x", "x..y", "100%", "a%20b", "50%25", "ä ö", "a+b", "%", "%zz", "a..b%20c"]


@pytest.fixture
def client(rig: Rig) -> TestClient:
    key = new_api_key()
    rig.service.keys.add(key, tenant="alice")
    app = make_api(rig.service, database=rig.database, broker=rig.broker, blobs=rig.blobs, clock=rig.clock)
    return TestClient(app, headers={"Authorization": f"Bearer {key}"})


def job(**input_or_other: Any) -> dict[str, Any]:
    return {"input": {"uris": ["s3://nst/tenants/alice/a.jpg"]}, "styles": ["wave"], **input_or_other}


def bodies(address: str) -> list[tuple[str, str, dict[str, Any], str]]:
    """Return a request for each place of the API that takes an address: method, path, body and pointer."""
    folder = address.removesuffix("a.jpg")
    optimize = {"method": "optimize", "styles": []}
    train = {"name": "s", "data": "s3://nst/tenants/alice/photos/", "painting": "s3://nst/tenants/alice/p.jpg"}
    train["initial"] = "none"
    return [
        ("POST", "/v1/jobs", job(input={"uris": [address]}), "/input/uris/0"),
        ("POST", "/v1/jobs", job(input={"prefix": folder}), "/input/prefix"),
        ("POST", "/v1/jobs", job(input={"prefix": address}), "/input/prefix"),
        ("POST", "/v1/jobs", job(input={"manifest": address}), "/input/manifest"),
        ("POST", "/v1/jobs", job(output={"prefix": folder}), "/output/prefix"),
        ("POST", "/v1/jobs", job(output={"prefix": folder + "x"}), "/output/prefix"),
        ("POST", "/v1/jobs", job(paintings=[address], **optimize), "/paintings/0"),
        ("POST", "/v1/jobs", job(mask=address), "/mask"),
        ("POST", "/v1/jobs", job(regions=[{"style": "udnie", "mask": address}]), "/regions/0/mask"),
        ("PUT", "/v1/styles/s", {"weights": address}, "/weights"),
        ("POST", "/v1/styles", {**train, "painting": address}, "/painting"),
        ("POST", "/v1/styles", {**train, "data": folder}, "/data"),
        ("POST", "/v1/styles", {**train, "samples": [address]}, "/samples/0"),
    ]


@sqlite
@pytest.mark.parametrize("trick", TRICKS)
def test_no_route_accepts_an_unsafe_address(client: TestClient, rig: Rig, trick: str) -> None:
    for method, path, body, pointer in bodies(f"s3://nst/tenants/alice/{trick}/a.jpg"):
        answer = client.request(method, path, json=body)
        assert answer.status_code == 422, (path, body, answer.text)
        assert answer.json()["errors"][0]["pointer"] == pointer, (path, body, answer.text)
        assert "key" in answer.json()["detail"]
    assert client.get("/v1/jobs").json()["data"] == []


@sqlite
@pytest.mark.parametrize("name", FINE)
def test_unusual_but_safe_names_are_accepted(client: TestClient, name: str) -> None:
    answer = client.post("/v1/jobs", json=job(input={"uris": [f"s3://nst/tenants/alice/{name}/{name}.jpg"]}))
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("bucket", ["..", ".", "-a", "x" * 64, "a b", "a%2fb", "a\\b", "nst@evil", "a..b"])
def test_invalid_bucket_names_are_refused(bucket: str) -> None:
    with pytest.raises(ConfigError):
        check_address(bucket, "a.jpg")


@pytest.mark.parametrize(
    "address", ["s3://nst", "s3://nst/", "s3://nst/tenants/alice/", "s3://nst/tenants/alice/a.jpg/"]
)
def test_an_object_address_must_not_be_a_folder(client: TestClient, address: str) -> None:
    for body in (job(input={"uris": [address]}), job(input={"manifest": address})):
        assert client.post("/v1/jobs", json=body).status_code == 422
    assert client.put("/v1/styles/s", json={"weights": address}).status_code == 422


@sqlite
@pytest.mark.parametrize("trick", TRICKS)
def test_the_places_of_a_tenant_must_be_plain_folders(client: TestClient, rig: Rig, trick: str) -> None:
    rig.service.keys.add(admin := new_api_key(), tenant="default")
    place = f"s3://nst/{trick}/photos" if trick else "s3://nst//photos"
    body = {"read": [place]}
    answer = client.put("/v1/tenants/bob", json=body, headers={"Authorization": f"Bearer {admin}"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/read/0"


@sqlite
def test_manifest_lines_with_unsafe_addresses_fail_alone(rig: Rig) -> None:
    good = "s3://nst/tenants/alice/good.jpg"
    lines = [good, *(f"s3://nst/tenants/alice/{trick}/a.jpg" for trick in TRICKS)]
    manifest = BlobUri("nst", f"tenants/alice/{rig.prefix}/manifest.jsonl")
    rig.blobs.put(manifest, "\n".join(json.dumps({"input": line}) for line in lines).encode())
    job_id = rig.service.submit("alice", rig.request(JobInput(manifest=str(manifest))))[0].id
    rig.plan()
    items = rig.service.items("alice", job_id, limit=100, after=-1)
    assert [item.error_code for item in items] == [None, *["input_invalid"] * len(TRICKS)]


@sqlite
def test_keys_from_a_listing_are_checked_like_addresses_in_a_request(rig: Rig) -> None:
    """A storage that decodes or normalises keys may list what does not belong to the prefix."""
    rig.service.tenants.put(Tenant(id="alice"))
    spec = rig.service._resolver.resolve("alice", "job_1", rig.request(JobInput(prefix="s3://nst/tenants/alice/")))
    keys = ["tenants/alice/a.jpg", "tenants/alice/../bob/b.jpg", "tenants/bob/c.jpg", "tenants/alice/%2e%2e/d.jpg"]
    entries = [InputEntry(uri=f"s3://nst/{key}") for key in keys]
    items = list(plan_items(spec, entries, first_input=0, permissions=rig.service.tenants.permissions("alice")))
    assert [item.error and item.error[0] for item in items] == [None, *["input_invalid"] * 3]
