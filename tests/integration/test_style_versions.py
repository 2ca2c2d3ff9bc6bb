"""Versions of styles: pinned by jobs, listed, exported, published again, deleted. Also who owns them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nst_core.protocol.chunks import StyleRef
from nst_core.storage.blobs import BlobUri
from nst_core.styles import version_of
from scheduler.store.styles import StyleRow, put_style
from tests.integration.conftest import TENANT, Rig, register_shipped
from tests.integration.runs.api_kit import connect
from tests.integration.test_styles_import import weights


@pytest.fixture
def client(rig: Rig) -> Iterator[TestClient]:
    register_shipped(rig)
    with connect(rig, TENANT) as client:
        yield client


@pytest.fixture
def stranger(rig: Rig) -> Iterator[TestClient]:
    with connect(rig, "stranger") as client:
        yield client


@pytest.fixture
def versions(client: TestClient, rig: Rig, tmp_path: Path) -> list[str]:
    """Import two versions of a style, and return them in that order."""
    found = []
    for seed in range(2):
        rig.clock.advance(1)
        uri = f"s3://nst/{rig.prefix}/{seed}.safetensors"
        rig.blobs.put(BlobUri.parse(uri), weights(tmp_path, seed))
        body = {"weights": uri, "card": {"title": f"Candy {seed}"}, "replace": True}
        answer = client.put("/v1/styles/candy", json=body)
        assert answer.status_code == 201, answer.json()
        found.append(answer.json()["version"])
    return found


def job(rig: Rig, *styles: str) -> dict[str, Any]:
    return {"input": {"uris": [f"s3://nst/{rig.prefix}/a.jpg"]}, "styles": list(styles)}


def test_every_version_keeps_its_card(client: TestClient, versions: list[str]) -> None:
    found = client.get("/v1/styles/candy/versions").json()["data"]
    assert [(each["version"], each["card"]["title"], each["current"]) for each in found] == [
        (versions[1], "Candy 1", True),
        (versions[0], "Candy 0", False),
    ]
    assert (found[0]["published"], found[0]["run"]) == (True, None)
    old = client.get("/v1/styles/candy", params={"version": versions[0][:8]}).json()
    assert old == {"name": "candy", "version": versions[0], "index": 0, "card": {"title": "Candy 0"}}
    for version, status in (("0" * 8, 404), ("abc", 422), ("x" * 8, 422)):
        assert client.get("/v1/styles/candy", params={"version": version}).status_code == status
    assert client.get("/v1/styles/nobody/versions").status_code == 404


def test_weights_can_be_downloaded(client: TestClient, versions: list[str]) -> None:
    for query, version in (({}, versions[1]), ({"version": versions[0][:12]}, versions[0])):
        answer = client.get("/v1/styles/candy/weights", params=query)
        assert version_of(answer.content) == version
        disposition = f'attachment; filename="candy-{version[:8]}.safetensors"'
        assert answer.headers["content-disposition"] == disposition
    assert client.get("/v1/styles/nobody/weights").status_code == 404
    assert client.get("/v1/styles/wave/weights").status_code == 404, "registered, and not in storage"


def test_a_job_can_pin_a_version_by_its_first_digits(client: TestClient, rig: Rig, versions: list[str]) -> None:
    answer = client.post("/v1/jobs", json=job(rig, f"candy@{versions[0][:8]}", "wave"))
    assert answer.status_code == 202, answer.json()
    assert answer.json()["styles"][0] == {"name": "candy", "version": versions[0], "parts": []}
    rig.plan()
    rig.dispatcher.tick()
    chunk = rig.take()
    assert chunk is not None
    assert (chunk.style.version, chunk.style.weights) == (versions[0], f"s3://nst/styles/{versions[0]}.safetensors")
    assert chunk.items[0].output.endswith("/a__candy.jpg")


def test_a_version_can_be_one_style_of_many_in_a_network(client: TestClient, rig: Rig) -> None:
    file = "s3://nst/styles/many.safetensors"
    for index, name in enumerate(("dawn", "dusk")):
        row = StyleRow(name=name, version=version_of(b"many", index), weights=file, index=index, card={}, tenant=TENANT)
        with rig.database.write() as connection:
            put_style(connection, row, now=rig.clock())
    [version] = client.get("/v1/styles/dusk/versions").json()["data"]
    assert (version["version"], version["index"]) == (version_of(b"many", 1), 1)
    rig.submit(1, styles=("dawn", "dusk"))
    rig.plan()
    rig.dispatcher.tick()
    styles = [chunk.style for chunk in rig.take_all()]
    assert styles == [
        StyleRef(name=name, version=version_of(b"many", index), weights=file, index=index)
        for index, name in enumerate(("dawn", "dusk"))
    ]


def test_a_pin_that_names_no_version_is_refused(client: TestClient, rig: Rig, versions: list[str]) -> None:
    for styles, pointer in (
        (["wave", "candy@00000000"], "/styles/1"),
        (["candy@0000"], "/styles/0"),
        ([f"nobody@{versions[0]}"], "/styles/0"),
        ([f"wave@{versions[0]}"], "/styles/0"),
        (["candy", f"candy@{versions[0]}"], "/styles"),
    ):
        answer = client.post("/v1/jobs", json=job(rig, *styles))
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), styles


def test_ambiguous_first_digits_are_refused(client: TestClient, rig: Rig) -> None:
    with rig.database.write() as connection:
        for tail in ("a", "b"):
            row = StyleRow(name="twins", version="12345678" + tail * 56, weights="s3://nst/w", card={}, tenant=TENANT)
            put_style(connection, row, now=rig.clock())
    answer = client.post("/v1/jobs", json=job(rig, "twins@12345678"))
    assert (answer.status_code, "2 versions" in answer.json()["detail"]) == (422, True)
    assert client.post("/v1/jobs", json=job(rig, "twins@12345678a")).status_code == 202
    assert client.get("/v1/styles/twins", params={"version": "12345678"}).status_code == 422


def test_styles_and_versions_are_listed_in_pages(client: TestClient, rig: Rig, versions: list[str]) -> None:
    mine = StyleRow(name="udnie", version="f" * 64, weights="s3://nst/w", card={}, tenant=TENANT)
    with rig.database.write() as connection:
        put_style(connection, mine, now=rig.clock())
    every = {style["name"]: style["version"] for style in client.get("/v1/styles").json()["data"]}
    assert every["udnie"] == mine.version, "its own before the one that comes with nst"
    for path, name, wanted in (
        ("/v1/styles", "name", sorted(every)),
        ("/v1/styles/candy/versions", "version", versions[::-1]),
    ):
        seen: list[str] = []
        query: dict[str, str | int] = {"limit": 1}
        while True:
            page = client.get(path, params=query).json()
            seen += [each[name] for each in page["data"]]
            assert (page["first_id"], page["last_id"]) == (seen[-1], seen[-1])
            query["after_id"] = page["last_id"]
            if not page["has_more"]:
                break
        assert seen == wanted
    answer = client.get("/v1/styles/candy/versions", params={"after_id": "0" * 64})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/after_id")


def test_an_older_version_can_be_published_again(client: TestClient, versions: list[str]) -> None:
    answer = client.post("/v1/styles/candy/publish", json={"version": versions[0][:8]})
    assert (answer.status_code, answer.json()["card"]) == (200, {"title": "Candy 0"})
    assert client.get("/v1/styles/candy").json()["version"] == versions[0]
    assert client.post("/v1/styles/candy/publish", json={"version": "0" * 8}).status_code == 404
    assert client.post("/v1/styles/candy/publish", json={"version": "0"}).status_code == 422


def test_a_deleted_style_is_gone_except_for_jobs_that_pin_it(client: TestClient, rig: Rig, versions: list[str]) -> None:
    assert client.delete("/v1/styles/candy").status_code == 204
    assert client.delete("/v1/styles/candy").status_code == 404
    assert client.get("/v1/styles/candy").status_code == 404
    assert "candy" not in [style["name"] for style in client.get("/v1/styles").json()["data"]]
    assert client.post("/v1/jobs", json=job(rig, "candy")).status_code == 422
    assert client.post("/v1/jobs", json=job(rig, f"candy@{versions[1]}")).status_code == 202
    assert client.post("/v1/styles/candy/publish", json={"version": versions[0]}).status_code == 200
    assert client.get("/v1/styles/candy").json()["version"] == versions[0]


def test_only_the_tenant_of_a_style_sees_and_changes_it(
    client: TestClient, stranger: TestClient, rig: Rig, versions: list[str], tmp_path: Path
) -> None:
    uri = f"s3://nst/{rig.prefix}/theirs.safetensors"
    rig.blobs.put(BlobUri.parse(uri), weights(tmp_path, 7))
    assert "candy" not in [style["name"] for style in stranger.get("/v1/styles").json()["data"]]
    unknown = [
        stranger.get("/v1/styles/candy"),
        stranger.get("/v1/styles/candy", params={"version": versions[0]}),
        stranger.get("/v1/styles/candy/versions"),
        stranger.get("/v1/styles/candy/weights", params={"version": versions[0]}),
        stranger.post("/v1/styles/candy/publish", json={"version": versions[0]}),
        stranger.delete("/v1/styles/candy"),
    ]
    assert [answer.status_code for answer in unknown] == [404] * 6
    for style in ("candy", f"candy@{versions[0]}"):
        answer = stranger.post("/v1/jobs", json=job(rig, style))
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/styles/0")
    assert stranger.put("/v1/styles/candy", json={"weights": uri, "card": {}}).status_code == 201
    assert stranger.get("/v1/styles/candy").json()["version"] not in versions
    assert client.get("/v1/styles/candy").json()["version"] == versions[1]
    assert stranger.delete("/v1/styles/candy").status_code == 204
    assert client.get("/v1/styles/candy").status_code == 200
    refused = [client.delete("/v1/styles/great_wave"), client.delete("/v1/styles/wave")]
    assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(409, "style_exists")] * 2


def test_a_shipped_style_never_replaces_a_style_of_a_client(rig: Rig) -> None:
    row = StyleRow(name="great_wave", version="1" * 64, weights="s3://nst/w", card={}, tenant=TENANT)
    with rig.database.write() as connection:
        put_style(connection, row, now=rig.clock())
    rig.service.styles.register_shipped()
    assert rig.service.styles.get(TENANT, "great_wave").version == "1" * 64


def test_schedulers_that_start_at_once_register_the_same_styles(rig: Rig) -> None:
    with ThreadPoolExecutor(4) as pool:
        for started in [pool.submit(rig.service.styles.register_shipped) for _ in range(4)]:
            started.result()
    assert {"great_wave", "udnie"} <= {style.name for style in rig.service.styles.all(TENANT, limit=100)}
