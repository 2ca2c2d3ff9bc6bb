"""Imported styles: through the real API into storage and database, and then used in jobs."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from fastapi.testclient import TestClient

from nst_core.blends import MAX_NAME
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.stylizer import EXACT
from nst_core.nets.families import blended, one_style
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.nets.weights import dump_transformer, load_transformer_bytes, save_transformer
from nst_core.nets.weights_header import CONFIG_KEY
from nst_core.peers.detect import identify
from nst_core.storage.blobs import BlobUri
from nst_core.styles import version_of, version_of_blend
from scheduler.api.app import make_api
from scheduler.domain.errors import StyleExistsError, TooLargeError
from scheduler.domain.keys import new_api_key
from scheduler.store.tenants import Tenant
from scheduler.styles.weights import keep_weights
from tests.integration.conftest import TENANT, Rig
from tests.shipped import shipped_style
from tests.unit.nst_core.peers.readings import lengstrom, lengstrom_variables, npz_file, photo
from worker.methods.stylize.models import ModelCache

MAX_UPLOAD_BYTES = 200_000
CARD = {"title": "Candy", "year": 1913}


def connect(rig: Rig, tenant: str) -> TestClient:
    key = new_api_key()
    rig.service.keys.add(key, tenant=tenant)
    rig.service.tenants.put(Tenant(id=tenant, limits={"max_upload_bytes": MAX_UPLOAD_BYTES}))
    api = make_api(rig.service, database=rig.database, broker=rig.broker, blobs=rig.blobs, clock=rig.clock)
    return TestClient(api, headers={"Authorization": f"Bearer {key}"}, raise_server_exceptions=False)


@pytest.fixture
def client(rig: Rig) -> Iterator[TestClient]:
    with connect(rig, TENANT) as client:
        yield client


def weights(folder: Path, seed: int = 0, **fields: Any) -> bytes:
    """Return the weights file of a tiny random network."""
    torch.manual_seed(seed)
    save_transformer(TransformerNet(TransformerConfig(width=2, blocks=0, **fields)), folder / "w")
    return (folder / "w").read_bytes()


def upload(client: TestClient, data: bytes) -> Any:
    """Store a file in a new upload and return the answer."""
    place = client.post("/v1/uploads").json()["id"]
    return client.put(f"/v1/uploads/{place}/style.safetensors", content=data)


def put(client: TestClient, name: str, data: bytes, **more: Any) -> Any:
    """Upload weights, import them as a style, and return the answer."""
    body = {"weights": upload(client, data).json()["uri"], "card": CARD} | more
    return client.put(f"/v1/styles/{name}", json=body)


def test_an_imported_style_is_a_new_version_under_its_name(client: TestClient, rig: Rig, tmp_path: Path) -> None:
    data = weights(tmp_path)
    answer = put(client, "candy", data)
    assert answer.status_code == 201
    assert answer.json() == {"name": "candy", "version": version_of(data), "index": 0, "card": CARD}
    assert client.get("/v1/styles/candy").json() == answer.json()
    assert rig.blobs.get(BlobUri("nst", f"styles/{version_of(data)}.safetensors")) == data


def test_an_imported_network_of_another_program_stylizes_photos_of_a_job(
    client: TestClient, rig: Rig, tmp_path: Path
) -> None:
    variables = lengstrom_variables(blocks=1)
    save_transformer(identify(npz_file(variables)).net, tmp_path / "w", dtype=torch.float32)
    job = {"input": {"uris": [f"s3://nst/{rig.prefix}/a.jpg"]}, "styles": ["candy"]}
    assert client.post("/v1/jobs", json=job).status_code == 422
    version = put(client, "candy", (tmp_path / "w").read_bytes()).json()["version"]
    answer = client.post("/v1/jobs", json=job)
    assert answer.status_code == 202
    assert answer.json()["styles"] == [{"name": "candy", "version": version, "parts": []}]
    rig.plan()
    rig.dispatcher.tick()
    chunk = rig.take()
    assert chunk is not None
    cache = ModelCache(
        rig.blobs, lambda data, style, choice: EagerStylizer.load(data, style=style), capacity_bytes=2**20
    )
    stylizer = cache.get(chunk.style, EXACT)
    picture = photo(18, 23)
    got = stylizer(picture.astype(np.uint8)[None])[0]
    expected = lengstrom(variables, picture)[-18:, -23:].clip(0, 255)
    np.testing.assert_allclose(got, expected, rtol=0, atol=0.51)  # rounded to whole grey levels


def test_each_style_of_a_network_is_a_version(client: TestClient, rig: Rig) -> None:
    torch.manual_seed(3)
    net = TransformerNet(TransformerConfig(width=2, blocks=0, styles=2))
    for name in net.config.style_tensors():
        parameter = net.get_parameter(name)
        parameter.data += torch.rand(parameter.shape)
    data = dump_transformer(net, dtype=torch.float32)
    answers = [put(client, f"style{index}", data, index=index) for index in (0, 1)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert [answer.json()["index"] for answer in answers] == [0, 1]
    assert [answer.json()["version"] for answer in answers] == [version_of(data, index) for index in (0, 1)]
    assert client.get("/v1/styles/style1/weights").content == data
    refused = put(client, "style2", data, index=2)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/index")
    assert "none is 2" in refused.text
    job = {"input": {"uris": [f"s3://nst/{rig.prefix}/a.jpg"]}, "styles": ["style1"]}
    assert client.post("/v1/jobs", json=job).status_code == 202
    rig.plan()
    rig.dispatcher.tick()
    chunk = rig.take()
    assert chunk is not None
    cache = ModelCache(
        rig.blobs, lambda data, style, choice: EagerStylizer.load(data, style=style), capacity_bytes=2**20
    )
    picture = photo(18, 23).astype(np.uint8)[None]
    expected = EagerStylizer(one_style(net, 1))(picture)
    np.testing.assert_array_equal(cache.get(chunk.style, EXACT)(picture), expected)
    assert (expected != EagerStylizer(one_style(net, 0))(picture)).any()


def test_a_blend_is_pinned_by_the_versions_of_its_styles(client: TestClient, rig: Rig, tmp_path: Path) -> None:
    files = {name: weights(tmp_path, seed) for seed, name in enumerate(("candy", "mosaic"))}
    for name, data in files.items():
        assert put(client, name, data).status_code == 201
    first, second = map(version_of, files.values())
    job = {"input": {"uris": [f"s3://nst/{rig.prefix}/a.jpg"]}, "styles": [f"mosaic@{second[:8]}:2,candy:3", "candy"]}
    answer = client.post("/v1/jobs", json=job)
    assert answer.status_code == 202
    parts = [
        {"name": "candy", "version": first, "share": 0.6},
        {"name": "mosaic", "version": second, "share": 0.4},
    ]
    version = version_of_blend([(second, 0.4), (first, 0.6)])
    blend, single = answer.json()["styles"]
    assert blend == {"name": "candy:0.6,mosaic:0.4", "version": version, "parts": parts}
    assert (single["name"], single["version"]) == ("candy", first)
    assert put(client, "candy", weights(tmp_path, 5), replace=True).status_code == 201
    assert client.delete("/v1/styles/mosaic").status_code == 204  # jobs keep their versions
    rig.plan()
    items = client.get(f"/v1/jobs/{answer.json()['id']}/items").json()["data"]
    assert [item["style"] for item in items] == ["candy:0.6,mosaic:0.4", "candy"]
    only = client.get(f"/v1/jobs/{answer.json()['id']}/items", params={"style": "mosaic:0.4,candy:0.6"})
    assert only.json()["data"] == items[:1]
    rig.dispatcher.tick()
    chunk = rig.take()
    assert chunk is not None
    assert [item.output.rpartition("/")[2] for item in chunk.items] == ["a__candy-60+mosaic-40.jpg"]
    cache = ModelCache(
        rig.blobs, lambda data, style, choice: EagerStylizer.load(data, style=style), capacity_bytes=2**20
    )
    net = blended([load_transformer_bytes(data) for data in files.values()], [0.6, 0.4])
    picture = photo(18, 23).astype(np.uint8)[None]
    np.testing.assert_array_equal(cache.get(chunk.style, EXACT)(picture), EagerStylizer(net)(picture))


def test_the_blend_of_a_region_is_pinned_too(client: TestClient, rig: Rig, tmp_path: Path) -> None:
    files = {name: weights(tmp_path, seed) for seed, name in enumerate(("candy", "mosaic"))}
    for name, data in files.items():
        assert put(client, name, data).status_code == 201
    put(client, "tanh", weights(tmp_path, output="tanh"))
    first, second = map(version_of, files.values())
    region = {"style": f"mosaic@{second[:8]}:2,candy:3", "mask": f"s3://nst/{rig.prefix}/m.png"}
    job = {"input": {"uris": [f"s3://nst/{rig.prefix}/a.jpg"]}, "styles": ["tanh"], "regions": [region]}
    answer = client.post("/v1/jobs", json=job)
    assert answer.status_code == 202
    style = answer.json()["regions"][0]["style"]
    version = version_of_blend([(first, 0.6), (second, 0.4)])
    assert (style["name"], style["version"]) == ("candy:0.6,mosaic:0.4", version)
    assert [part["version"] for part in style["parts"]] == [first, second]
    assert put(client, "candy", weights(tmp_path, 5), replace=True).status_code == 201
    rig.plan()
    rig.dispatcher.tick()
    chunk = rig.take()
    assert chunk is not None
    assert [part.version for part in chunk.options.regions[0].style.parts] == [first, second]
    other = client.post("/v1/jobs", json=job | {"regions": [region | {"style": "mosaic:1,tanh:1"}]})
    assert (other.status_code, other.json()["errors"][0]["pointer"]) == (422, "/regions/0/style")


def test_workers_are_told_which_networks_have_the_identity(client: TestClient, rig: Rig, tmp_path: Path) -> None:
    faded = weights(tmp_path, styles=2, identity=True)
    for name, data, index in (("candy", faded, 0), ("plain", weights(tmp_path, 1), 0), ("photo", faded, 1)):
        assert put(client, name, data, index=index).status_code == 201
    put(client, "mosaic", weights(tmp_path, 2, styles=2, identity=True))
    styles = {"candy": True, "photo": False, "candy:1,mosaic:1": True, "candy:1,plain:1": False}
    job = {"input": {"uris": [f"s3://nst/{rig.prefix}/a.jpg"]}, "styles": list(styles)}
    assert client.post("/v1/jobs", json=job).status_code == 202
    rig.plan()
    rig.dispatcher.tick()
    assert [chunk.style.fades for chunk in rig.take_all()] == list(styles.values())


def test_the_longest_name_of_a_blend_is_stored(client: TestClient, rig: Rig, tmp_path: Path) -> None:
    names = [letter * 60 for letter in "abc"]
    for seed, name in enumerate(names):
        assert put(client, name, weights(tmp_path, seed)).status_code == 201
    blend = ",".join(f"{name}:1" for name in names)
    job = {"input": {"uris": [f"s3://nst/{rig.prefix}/a.jpg"]}, "styles": [blend]}
    answer = client.post("/v1/jobs", json=job)
    assert answer.status_code == 202
    rig.plan()
    [item] = client.get(f"/v1/jobs/{answer.json()['id']}/items").json()["data"]
    assert len(item["style"]) == MAX_NAME
    assert item["style"] == answer.json()["styles"][0]["name"]
    longer = client.post("/v1/jobs", json=job | {"styles": [blend.replace("a", "aa", 1)]})
    assert (longer.status_code, longer.json()["errors"][0]["pointer"]) == (422, "/styles/0")


@pytest.mark.parametrize(
    ("styles", "pointer", "message"),
    [
        (["candy:0.6,nowhere:0.4"], "/styles/0", "There is no style 'nowhere'"),
        (["candy", "candy:1,candy:1"], "/styles/1", "names each style once"),
        (["candy:1,mosaic:0"], "/styles/0", "share above 0"),
        (["candy,mosaic"], "/styles/0", "NAME:SHARE,NAME:SHARE"),
        (["candy:1"], "/styles/0", "NAME:SHARE,NAME:SHARE"),
        (["candy:0.5,mosaic:0.5", "mosaic:1,candy:1"], "/styles", "named twice"),
        (["mosaic:1,tanh:1"], "/styles/0", "networks are of the same kind"),
    ],
)
def test_a_wrong_blend_is_refused(
    client: TestClient, rig: Rig, tmp_path: Path, styles: list[str], pointer: str, message: str
) -> None:
    for seed, name in enumerate(("candy", "mosaic")):
        put(client, name, weights(tmp_path, seed))
    put(client, "tanh", weights(tmp_path, output="tanh"))
    job = {"input": {"uris": [f"s3://nst/{rig.prefix}/a.jpg"]}, "styles": styles}
    answer = client.post("/v1/jobs", json=job)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert message in answer.json()["errors"][0]["detail"]


def test_a_blend_keeps_its_idempotency_key_however_it_is_written(client: TestClient, rig: Rig, tmp_path: Path) -> None:
    for seed, name in enumerate(("candy", "mosaic")):
        put(client, name, weights(tmp_path, seed))
    answers = [
        client.post(
            "/v1/jobs",
            json={"input": {"uris": [f"s3://nst/{rig.prefix}/a.jpg"]}, "styles": [style]},
            headers={"Idempotency-Key": "one-blend"},
        )
        for style in ("candy:0.6,mosaic:0.4", "mosaic:2,candy:3", "mosaic:3,candy:2")
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 422]
    assert answers[0].json()["id"] == answers[1].json()["id"]


def test_importing_the_same_version_again_changes_nothing(client: TestClient, tmp_path: Path) -> None:
    first = put(client, "candy", weights(tmp_path))
    again = put(client, "candy", weights(tmp_path), card={"title": "Another"})
    assert (again.status_code, again.json()) == (200, first.json())


def test_replace_with_the_same_version_changes_the_card(client: TestClient, tmp_path: Path) -> None:
    put(client, "candy", weights(tmp_path))
    answer = put(client, "candy", weights(tmp_path), card={"title": "Another"}, replace=True)
    assert (answer.status_code, answer.json()["card"]) == (200, {"title": "Another"})
    assert client.get("/v1/styles/candy").json() == answer.json()


def test_another_version_needs_replace_and_the_old_one_is_kept(client: TestClient, rig: Rig, tmp_path: Path) -> None:
    old, new = weights(tmp_path, 0), weights(tmp_path, 1)
    put(client, "candy", old)
    job = client.post("/v1/jobs", json={"input": {"uris": ["s3://nst/a.jpg"]}, "styles": ["candy"]}).json()
    refused = put(client, "candy", new)
    assert (refused.status_code, refused.json()["code"]) == (409, "style_exists")
    assert client.get("/v1/styles/candy").json()["version"] == version_of(old)
    replaced = put(client, "candy", new, replace=True)
    assert (replaced.status_code, replaced.json()["version"]) == (201, version_of(new))
    assert client.get(f"/v1/jobs/{job['id']}").json()["styles"][0]["version"] == version_of(old)
    kept = client.get("/v1/styles/candy/weights", params={"version": version_of(old)})
    assert kept.content == old
    assert put(client, "candy", old, replace=True).json()["version"] == version_of(old)


def test_one_version_may_have_two_names(client: TestClient, tmp_path: Path) -> None:
    names = ("candy", "Candy-2.b_c")
    answers = [put(client, name, weights(tmp_path)) for name in names]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert {client.get(f"/v1/styles/{name}").json()["version"] for name in names} == {version_of(weights(tmp_path))}


def test_shipped_styles_cannot_be_replaced(client: TestClient, rig: Rig, tmp_path: Path) -> None:
    rig.service.styles.register_shipped()
    before = client.get("/v1/styles/great_wave").json()
    answer = put(client, "great_wave", weights(tmp_path), replace=True)
    assert (answer.status_code, answer.json()["code"]) == (409, "style_exists")
    uri = f"s3://nst/styles/{version_of(shipped_style('great_wave').weights())}.safetensors"
    same = client.put("/v1/styles/great_wave", json={"weights": uri, "card": {}, "replace": True})
    assert (same.status_code, same.json()) == (200, before)
    assert client.get("/v1/styles/great_wave").json() == before


def without_config(data: bytes) -> bytes:
    return safetensors.torch.save(safetensors.torch.load(data))


def with_config(data: bytes, **values: Any) -> bytes:
    return safetensors.torch.save(safetensors.torch.load(data), {CONFIG_KEY: json.dumps(values)})


def test_a_file_that_is_not_valid_weights_is_refused_and_not_kept(client: TestClient, rig: Rig, tmp_path: Path) -> None:
    good = weights(tmp_path)
    wrong = {
        b"": "is not a safetensors file",
        b"Not Found": "is not a safetensors file",
        npz_file(lengstrom_variables(blocks=0)): "is not a safetensors file",
        without_config(good): f"its header has no {CONFIG_KEY}",
        with_config(good, width=2, blocks=0, colour=7): "Unknown transformer config fields: colour",
        with_config(good, width=3, blocks=0): r"is not a tensor of the shape",
        with_config(good, width=2, blocks=1): "it has no tensor residuals.0.conv1.weight",
        good[:-1]: "it is damaged or not whole",
    }
    for data, message in wrong.items():
        answer = put(client, "candy", data)
        assert (answer.status_code, answer.json()["code"]) == (422, "weights_invalid"), message
        assert message in answer.json()["detail"]
        digest = hashlib.sha256(data).hexdigest()
        assert not rig.blobs.exists(BlobUri("nst", f"styles/{digest}.safetensors"))
    assert client.get("/v1/styles/candy").status_code == 404


WRONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"weights": "s3://nst/none.safetensors"}, "/weights"),
    ({"weights": "s3://nst/"}, "/weights"),
    ({"weights": "s3://nst/tenants/stranger/uploads/upl_1/w"}, "/weights"),
    ({"weights": "s3://elsewhere/w"}, "/weights"),
    ({"weights": "/etc/passwd"}, "/weights"),
    ({"card": {"title": "a\0b"}}, "/card/title"),
    ({"card": {"title": "x" * 70_000}}, "/card"),
    ({"card": []}, "/card"),
    ({"colour": 1}, "/colour"),
]


def test_a_wrong_field_is_one_problem_that_points_to_the_field(client: TestClient) -> None:
    for changes, pointer in WRONG_FIELDS:
        answer = client.put("/v1/styles/candy", json={"weights": "s3://nst/w", "card": CARD} | changes)
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid"), changes
        assert pointer in [error["pointer"] for error in answer.json()["errors"]]


def test_the_upload_of_another_tenant_cannot_be_imported(client: TestClient, rig: Rig, tmp_path: Path) -> None:
    with connect(rig, "stranger") as stranger:
        uri = upload(stranger, weights(tmp_path)).json()["uri"]
        assert client.put("/v1/styles/candy", json={"weights": uri}).status_code == 422
        assert stranger.put("/v1/styles/candy", json={"weights": uri}).status_code == 201


def test_a_name_that_is_unsafe_in_a_file_name_is_refused(client: TestClient) -> None:
    for name in ("%2e%2e", ".hidden", "-n", "a%20b", "x" * 65, "%C3%A9", "a%00"):
        answer = client.put(f"/v1/styles/{name}", json={"weights": "s3://nst/w"})
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid"), name


def test_weights_over_the_limit_are_refused(client: TestClient, rig: Rig, tmp_path: Path) -> None:
    answer = upload(client, bytes(MAX_UPLOAD_BYTES + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    data = weights(tmp_path)
    source = BlobUri.parse(upload(client, data).json()["uri"])
    with pytest.raises(TooLargeError, match="at most 1,000 bytes"):
        keep_weights(rig.blobs, source, max_bytes=1000)
    assert keep_weights(rig.blobs, source, max_bytes=len(data)).sha256 == version_of(data)


def test_one_of_several_concurrent_imports_under_one_name_is_new(client: TestClient, rig: Rig, tmp_path: Path) -> None:
    uris = [upload(client, weights(tmp_path, seed)).json()["uri"] for seed in range(6)]
    barrier = Barrier(len(uris))

    def run(name: str, uri: str) -> bool:
        barrier.wait()
        try:
            return rig.service.styles.import_style(TENANT, name, weights=uri, card={})[1]
        except StyleExistsError:
            return False

    with ThreadPoolExecutor(len(uris)) as pool:
        for name in ("a", "b", "c"):
            assert sum(pool.map(run, [name] * len(uris), uris)) == 1
        # The same version imported concurrently: under one name one is new, under several names all are.
        assert sum(pool.map(run, ["d"] * len(uris), uris[:1] * len(uris))) == 1
        assert sum(pool.map(run, "efghij", uris[:1] * len(uris))) == len(uris)
