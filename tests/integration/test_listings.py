"""Listings are limited in bytes, and load no inline inputs, however many photos the jobs name."""

import inspect
import tracemalloc
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event

from nst_core.client.resources.jobs import JobInput
from scheduler.api.app import ROUTERS
from scheduler.api.pages import MAX_PAGE_BYTES
from scheduler.store import styles as access
from scheduler.store.styles import StyleRow
from tests.integration.conftest import TENANT, Rig

LONG = "x" * 240


def uris(rig: Rig, count: int) -> tuple[str, ...]:
    """Return addresses with keys of the greatest length."""
    folders = "/".join([LONG] * 3)
    return tuple(f"s3://nst/{rig.prefix}/{folders}/{number:04d}.jpg" for number in range(count))


def submit(rig: Rig, count: int, **changes: object) -> str:
    rig.clock.advance(0.01)
    request = rig.request(JobInput(uris=uris(rig, count)), output_prefix=f"s3://nst/{rig.prefix}/out", **changes)
    return rig.service.submit(TENANT, request)[0].id


def walk(client: TestClient, path: str, **query: Any) -> list[list[dict[str, Any]]]:
    """Return the pages of a listing, and check that each is small enough."""
    pages = []
    while True:
        answer = client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        pages.append(page["data"])
        assert len(answer.content) < 1.2 * MAX_PAGE_BYTES
        if not page["has_more"]:
            return pages
        query["after_id"] = page["last_id"]


def test_a_listing_of_jobs_leaves_out_their_addresses(client: TestClient, rig: Rig) -> None:
    ids = [submit(rig, 1000) for _ in range(5)]
    statements: list[str] = []
    event.listen(rig.database.engine, "before_cursor_execute", lambda *arguments: statements.append(str(arguments[2])))
    answer = client.get("/v1/jobs", params={"limit": 1000})
    jobs = answer.json()["data"]
    assert [job["id"] for job in jobs] == ids[::-1]
    assert len(answer.content) < 2000 * len(ids)
    assert all(job["input"] == {"count": 1000, "prefix": None, "manifest": None} for job in jobs)
    assert client.get(f"/v1/jobs/{ids[0]}").json() == jobs[-1]
    assert any("FROM jobs" in each for each in statements)
    assert not any("input_uris" in each for each in statements)


def test_the_addresses_of_a_job_are_listed_in_pages(client: TestClient, rig: Rig) -> None:
    job_id = submit(rig, 1000)
    pages = walk(client, f"/v1/jobs/{job_id}/input", limit=300)
    assert [len(page) for page in pages] == [300, 300, 300, 100]
    seen = [each for page in pages for each in page]
    assert [each["uri"] for each in seen] == list(uris(rig, 1000))
    assert [each["id"] for each in seen] == list(range(1000))
    by_prefix = rig.submit(JobInput(prefix=f"s3://nst/{rig.prefix}/"))
    assert client.get(f"/v1/jobs/{by_prefix}/input").json()["data"] == []


def test_jobs_are_planned_from_separately_stored_addresses(rig: Rig) -> None:
    job_id = submit(rig, 37)
    rig.plan()
    items = rig.service.items(TENANT, job_id, limit=100, after=-1)
    assert [item.input for item in items] == list(uris(rig, 37))


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_pages_of_large_entries_end_early_and_nothing_is_lost(client: TestClient, rig: Rig) -> None:
    metadata = {f"{number:02d}" + "k" * 62: "v" * 512 for number in range(16)}
    ids = [submit(rig, 1, metadata=metadata) for _ in range(400)]
    pages = walk(client, "/v1/jobs", limit=1000)
    assert len(pages) > 1
    assert [job["id"] for page in pages for job in page] == ids[::-1]
    with rig.database.write() as connection:
        for number in range(60):
            card = {"text": "c" * 60_000}
            name = f"s{number:03d}"
            row = StyleRow(name=name, version=f"{number:064x}", weights="s3://nst/w", card=card, tenant=TENANT)
            access.put_style(connection, row, now=rig.clock())
            access.put_style(connection, StyleRow(**{**vars(row), "name": "same"}), now=rig.clock() + number)
    styles = [style["name"] for page in walk(client, "/v1/styles", limit=1000) for style in page]
    assert len(styles) == len(set(styles)) == 63
    versions = [each["version"] for page in walk(client, "/v1/styles/same/versions", limit=1000) for each in page]
    assert versions == [f"{number:064x}" for number in reversed(range(60))]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_page_of_uploaded_files_is_one_listing_of_the_storage(client: TestClient, rig: Rig) -> None:
    upload_id = client.post("/v1/uploads").json()["id"]
    paths = sorted(f"sub/{number}.jpg" for number in range(250))
    for path in paths:
        assert client.put(f"/v1/uploads/{upload_id}/{path}", content=b"photo").status_code == 201
    asked: list[object] = []
    rig.blobs._client.meta.events.register("before-call.s3.ListObjectsV2", lambda **more: asked.append(more))
    pages = walk(client, f"/v1/uploads/{upload_id}/files", limit=100)
    assert [len(page) for page in pages] == [100, 100, 50]
    assert [each["path"] for page in pages for each in page] == paths
    assert len(asked) == len(pages)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_listing_uses_memory_for_one_page_only(client: TestClient, rig: Rig) -> None:
    for _ in range(20):
        submit(rig, 1000)  # 16 MB of addresses in all
    client.get("/v1/jobs")  # one-time costs are paid
    tracemalloc.start()
    client.get("/v1/jobs", params={"limit": 1000})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 2**20


def test_every_listing_ends_large_pages_early() -> None:
    """Every route that answers with a page counts the bytes of its entries; see `Page.collect`."""
    known_as_a_whole = {"list_errors", "list_presets", "list_training_presets", "list_samples"}
    routes = [route for router, _ in ROUTERS for route in router.routes]
    listings = [
        route.endpoint  # type: ignore[attr-defined]
        for route in routes
        if "Page" in str(getattr(route, "response_model", None))
    ]
    assert len(listings) >= 12
    for endpoint in listings:
        if endpoint.__name__ not in known_as_a_whole:
            assert "return collect(" in inspect.getsource(endpoint), endpoint.__name__
