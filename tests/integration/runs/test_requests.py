"""Runs through the real API: which requests are accepted, and which are refused."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nst_core.client.resources.runs import ForkRequest, TrainRequest
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import families, version_of
from nst_core.training.config import TrainConfig
from nst_core.training.presets import presets
from scheduler.api.forms import MAX_JSON_BYTES
from scheduler.domain.errors import QuotaExceededError
from scheduler.runs.requests import MAX_ABOUT_BYTES
from scheduler.store.database import Connection, Database
from scheduler.store.errors import DatabaseUnavailableError
from scheduler.store.tenants import Tenant
from tests.integration.conftest import TENANT
from tests.integration.runs.api_kit import body, connect, picture, submit, train
from tests.integration.runs.kit import RunRig

#: A family of the package.
FAMILY = next(iter(families().values()))


def test_a_submitted_run_is_accepted_with_its_location(client: TestClient, runs: RunRig) -> None:
    answer = submit(client, runs, about={"title": "Night", "year": 1889}, stroke=1.5)
    assert answer.status_code == 202
    run = answer.json()
    assert answer.headers["Location"] == f"/v1/runs/{run['id']}"
    assert client.get(answer.headers["Location"]).json() == run
    assert (run["name"], run["status"], run["step"], run["steps"]) == ("night", "queued", 0, 100)
    assert run["config"]["style_size_px"] == round(presets()["standard"].config.style_size_px * 1.5)
    assert run["photos"] == {
        "count": 2,
        "held_out": 1,
        "skipped": 0,
        "reasons": {},
        "warning": "There are only 3 photos; 100 are enough to begin with, the shipped styles took 1,242.",
    }
    assert run["warning"] == run["photos"]["warning"]
    assert run["painting"] == f"s3://nst/tenants/{TENANT}/runs/{run['id']}/painting.png"
    assert run["about"] == {"title": "Night", "year": 1889}
    assert (run["losses"], run["eta_s"], run["error"], run["version"], run["parent"]) == (None,) * 5
    assert (run["started_at"], run["finished_at"], run["published"]) == (None, None, False)


def test_the_painting_is_a_copy_that_outlives_the_original(client: TestClient, runs: RunRig) -> None:
    request = body(runs)
    run_id = client.post("/v1/styles", json=request).json()["id"]
    runs.rig.blobs.delete(BlobUri.parse(request["painting"]))
    answer = client.get(f"/v1/runs/{run_id}/painting")
    assert (answer.content, answer.headers["content-type"]) == (picture(suffix="png"), "image/png")
    segment = runs.next()
    assert segment.painting.uri.endswith(f"/runs/{run_id}/painting.png")


def test_the_default_starts_from_the_weights_of_a_shipped_style(client: TestClient, runs: RunRig) -> None:
    train(client, runs)
    wave = client.get("/v1/styles/great_wave").json()["version"]
    segment = runs.next()
    assert segment.initial is not None
    assert segment.initial.sha256 == wave
    data = runs.rig.blobs.get(BlobUri.parse(segment.initial.uri))
    assert len(data) > 1_000_000


def test_initial_weights_can_be_chosen_or_left_out(client: TestClient, runs: RunRig) -> None:
    udnie = client.get("/v1/styles/udnie").json()["version"]
    train(client, runs, initial=f"udnie@{udnie[:8]}")
    segment = runs.next()
    assert segment.initial is not None
    assert segment.initial.sha256 == udnie
    client.post(f"/v1/runs/{segment.run_id}/cancel")
    train(client, runs, initial="none")
    assert runs.next().initial is None


def test_a_network_with_the_identity_starts_from_the_weights_of_a_style_too(client: TestClient, runs: RunRig) -> None:
    identity = {"identity_weight": 10.0, "transformer": {"styles": 2}}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"options": identity}, "great_wave"),
        ({"options": identity, "initial": "udnie"}, "udnie"),
        ({"options": IDENTITY_ALONE, "initial": "udnie"}, "udnie"),
    ]
    for changes, style in cases:
        train(client, runs, **changes)
        segment = runs.next()
        assert segment.initial is not None
        assert segment.initial.sha256 == client.get(f"/v1/styles/{style}").json()["version"]
        client.post(f"/v1/runs/{segment.run_id}/cancel")
        runs.tick()


def test_a_later_style_of_a_network_is_no_start(client: TestClient, runs: RunRig) -> None:
    weights = f"s3://nst/{runs.rig.prefix}/wave.safetensors"
    runs.put(weights, client.get("/v1/styles/great_wave/weights").content)
    for index, status in ((0, 202), (1, 422)):
        imported = client.put(f"/v1/styles/wave_{index}", json={"weights": weights, "index": index})
        assert imported.status_code == 201, imported.json()
        answer = submit(client, runs, initial=f"wave_{index}")
        assert answer.status_code == status, answer.json()
    assert answer.json()["errors"][0]["pointer"] == "/initial"
    assert "style 1 of its network" in answer.json()["detail"]


def test_a_style_of_a_family_starts_from_the_file_of_the_family(client: TestClient, runs: RunRig) -> None:
    run = client.get(f"/v1/runs/{train(client, runs, family=FAMILY.name)}").json()
    assert (run["family"], run["preset"], run["config"]["trained"]) == (FAMILY.name, "norms", "norms")
    segment, data = runs.next(), FAMILY.weights()
    assert segment.initial is not None
    assert segment.initial.sha256 == version_of(data)
    assert runs.rig.blobs.get(BlobUri.parse(segment.initial.uri)) == data
    config = TrainConfig.from_dict(segment.config)
    assert (config.paintings, config.transformer.identity) == (1, FAMILY.has_identity)


def test_an_instant_style_joins_the_family_of_its_preset(client: TestClient, runs: RunRig) -> None:
    run = client.get(f"/v1/runs/{train(client, runs, preset='instant')}").json()
    assert (run["family"], run["preset"], run["config"]["trained"]) == ("painters", "instant", "norms")
    segment = runs.next()
    assert segment.initial is not None
    assert segment.initial.sha256 == version_of(families()["painters"].weights())
    problem = client.post("/v1/styles", json=body(runs, preset="instant", initial="udnie")).json()
    assert (problem["code"], problem["errors"][0]["pointer"]) == ("request_invalid", "/initial")
    problem = client.post("/v1/styles", json=body(runs, preset="instant", family="")).json()
    assert (problem["code"], problem["errors"][0]["pointer"]) == ("request_invalid", "/family")


def test_a_painting_can_be_sent_in_a_form(client: TestClient, runs: RunRig) -> None:
    request = body(runs, painting=None)
    files: dict[str, Any] = {
        "painting": ("C:\\folder\\Night sky.JPG", picture(), "image/jpeg"),
        "request": (None, json.dumps(request), "application/json"),
    }
    answer = client.post("/v1/styles", files=files)
    assert answer.status_code == 202, answer.json()
    run_id = answer.json()["id"]
    got = client.get(f"/v1/runs/{run_id}/painting")
    assert (got.content, got.headers["content-type"]) == (picture(), "image/jpeg")
    again = client.post("/v1/styles", files={**files, "request": ("request.json", json.dumps(request))})
    assert again.status_code == 202


def test_a_malformed_form_is_refused(client: TestClient, runs: RunRig) -> None:
    request = json.dumps(body(runs, painting=None))
    painting = ("a.jpg", picture())
    cases: list[tuple[dict[str, Any], str]] = [
        ({"files": {"request": (None, request)}}, "/painting"),
        ({"files": {"painting": painting}}, "/request"),
        ({"files": {"painting": (None, "text"), "request": (None, request)}}, "/painting"),
        ({"files": {"painting": painting, "request": (None, request), "more": (None, "x")}}, ""),
        ({"files": {"painting": painting, "request": (None, json.dumps(body(runs)))}}, "/painting"),
        ({"files": {"painting": painting, "request": (None, '{"name": "a/b"}')}}, "/name"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, ""),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=y"}}, ""),
    ]
    broken = client.post("/v1/styles", files={"painting": painting, "request": (None, "{")})
    assert (broken.status_code, broken.json()["code"]) == (400, "malformed_json")
    for options, pointer in cases:
        answer = client.post("/v1/styles", **options)
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid"), answer.json()
        assert pointer in [error["pointer"] for error in answer.json()["errors"]], answer.json()


def test_a_painting_that_is_too_large_is_refused_before_it_is_kept(
    client: TestClient, runs: RunRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.runs.paintings.MAX_PAINTING_BYTES", 1000)
    assert submit(client, runs).status_code == 413
    files: dict[str, Any] = {
        "painting": ("a.png", picture(suffix="png")),
        "request": (None, json.dumps(body(runs, painting=None))),
    }
    answer = client.post("/v1/styles", files=files)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert client.post("/v1/styles", content=b" " * (MAX_JSON_BYTES + 1)).status_code == 413
    assert client.get("/v1/runs").json()["data"] == []


def test_a_run_that_the_quota_refuses_leaves_no_file_behind(client: TestClient, runs: RunRig) -> None:
    runs.rig.service.tenants.put(Tenant(id=TENANT, limits={"max_unfinished_runs": 1}))
    train(client, runs)
    place = BlobUri("nst", f"tenants/{TENANT}/runs/")
    kept = runs.rig.blobs.list_keys(place)
    assert kept
    answer = submit(client, runs)
    assert answer.json()["code"] == "quota_exceeded", answer.json()
    assert runs.rig.blobs.list_keys(place) == kept


@pytest.mark.parametrize("action", ["train", "fork"])
def test_a_run_that_is_refused_after_its_files_were_stored_leaves_none(
    client: TestClient, runs: RunRig, action: str
) -> None:
    rig = runs.rig
    parent = train(client, runs)
    runs.train_to(parent, 40)
    rig.service.tenants.put(Tenant(id=TENANT, limits={"max_unfinished_runs": 2}))
    place = BlobUri("nst", f"tenants/{TENANT}/runs/")
    kept = rig.blobs.list_keys(place)
    written: list[BlobUri] = []

    class Slow(BlobStore):
        """A storage that is so slow that another run takes the last place in the quota meanwhile."""

        @contextmanager
        def _writing(self, uri: BlobUri) -> Iterator[None]:
            with super()._writing(uri):
                yield
            if not written:
                runs.add(name="other")
            written.append(uri)

    slow = Slow.__new__(Slow)
    vars(slow).update(vars(rig.blobs))
    service, request = rig.new_service(rig.database, slow).runs, TrainRequest(**body(runs))
    requests: dict[str, Callable[[], object]] = {
        "train": lambda: service.submit(TENANT, request),
        "fork": lambda: service.fork(TENANT, parent, ForkRequest(steps=50)),
    }
    with pytest.raises(QuotaExceededError):
        requests[action]()
    assert len(written) == (1 if action == "train" else 2)
    assert rig.blobs.list_keys(place) == kept


def test_a_run_that_may_have_been_added_keeps_its_files(runs: RunRig) -> None:
    rig = runs.rig
    writes: list[int] = []

    class Mute(Database):
        """A database whose answer to the second transaction, which adds the run, is lost."""

        @contextmanager
        def write(self, *, wait_s: float | None = None) -> Iterator[Connection]:
            with super().write(wait_s=wait_s) as connection:
                yield connection
            writes.append(1)
            if len(writes) == 2:
                raise DatabaseUnavailableError("The connection broke.")

    mute = Mute.__new__(Mute)
    vars(mute).update(vars(rig.database))
    with pytest.raises(DatabaseUnavailableError):
        rig.new_service(mute, rig.blobs).runs.submit(TENANT, TrainRequest(**body(runs)))
    segment = runs.next()
    assert rig.blobs.exists(BlobUri.parse(segment.painting.uri))


BAD_PAINTINGS = {
    "image_undecodable": b"This is a text, and no painting.",
    "image_too_small": picture(20, 20),
    "image_format_unsupported": b"%PDF-1.7",
}


@pytest.mark.parametrize("code", BAD_PAINTINGS)
def test_a_file_that_is_not_a_picture_is_refused_at_once(client: TestClient, runs: RunRig, code: str) -> None:
    uri = f"s3://nst/{runs.rig.prefix}/bad.jpg"
    runs.put(uri, BAD_PAINTINGS[code])
    answer = submit(client, runs, painting=uri)
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert answer.json()["errors"][0]["pointer"] == "/painting"
    assert code in answer.json()["detail"]


def test_a_painting_under_64_px_is_refused(client: TestClient, runs: RunRig) -> None:
    for size, status in ((63, 422), (64, 202)):
        uri = f"s3://nst/{runs.rig.prefix}/{size}.jpg"
        runs.put(uri, picture(200, size))
        assert submit(client, runs, painting=uri).status_code == status


@pytest.mark.parametrize(
    ("size", "changes", "pointer"),
    [
        ((192, 64), {"stroke": 0.05}, "/stroke"),
        ((192, 64), {"stroke": 0.5, "options": {"style_size_px": 80}}, "/stroke"),
        ((192, 64), {"options": {"style_size_px": 40}}, "/options/style_size_px"),
        ((64, 2700), {}, "/painting"),
        ((64, 2700), {"stroke": 0.9}, "/painting"),
    ],
)
def test_a_painting_that_is_too_thin_for_its_strokes_is_refused_at_once(
    client: TestClient, runs: RunRig, size: tuple[int, int], changes: dict[str, Any], pointer: str
) -> None:
    uri = f"s3://nst/{runs.rig.prefix}/thin.png"
    runs.put(uri, picture(*size, suffix="png"))
    answer = submit(client, runs, painting=uri, **changes)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.json()
    assert "image_too_small" in answer.json()["detail"]
    larger = {"stroke": 1.5} | ({"options": {"style_size_px": 80}} if "options" in changes else {})
    assert submit(client, runs, painting=uri, **larger).status_code == 202


#: Options with which nothing but the identity learns.
IDENTITY_ALONE = {"trained": "identity", "identity_weight": 10.0, "transformer": {"styles": 2}}

WRONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"name": "../x"}, "/name"),
    ({"name": None}, "/name"),
    ({"painting": None}, "/painting"),
    ({"painting": "s3://nst/none.jpg"}, "/painting"),
    ({"painting": "s3://nst/"}, "/painting"),
    ({"painting": "s3://elsewhere/a.jpg"}, "/painting"),
    ({"painting": "s3://nst/tenants/stranger/uploads/upl_1/a.jpg"}, "/painting"),
    ({"data": "s3://nst/no-such-photos/"}, "/data"),
    ({"data": "s3://nst/"}, "/data"),
    ({"data": f"s3://nst/tenants/{TENANT}/"}, "/data"),
    ({"data": f"s3://nst/tenants/{TENANT}/runs/run_1/samples/"}, "/data"),
    ({"data": f"s3://nst/tenants/{TENANT}/scratch"}, "/data"),
    ({"data": "s3://nst/tenants/stranger/"}, "/data"),
    ({"data": "s3://elsewhere/photos/"}, "/data"),
    ({"data": None}, "/data"),
    ({"preset": "slow"}, "/preset"),
    ({"family": "sculptors"}, "/family"),
    ({"family": FAMILY.name, "preset": "quick"}, "/preset"),
    ({"family": FAMILY.name, "initial": "none"}, "/initial"),
    ({"family": FAMILY.name, "options": {"transformer": {"width": 8}}}, "/options/transformer"),
    ({"family": FAMILY.name, "options": {"trained": "all"}}, "/options"),
    ({"family": FAMILY.name, "options": {"trained": "all", "identity_weight": 10.0}}, "/options/trained"),
    ({"family": FAMILY.name, "options": {"trained": "identity", "identity_weight": 10.0}}, "/options/trained"),
    ({"options": IDENTITY_ALONE}, "/options/trained"),
    ({"options": IDENTITY_ALONE, "initial": "none"}, "/initial"),
    ({"preset": "norms", "initial": "none"}, "/initial"),
    ({"steps": 0}, "/steps"),
    ({"steps": 10**9}, "/steps"),
    ({"stroke": 0}, "/stroke"),
    ({"strength": 1e9}, "/strength"),
    ({"seed": -1}, "/seed"),
    ({"options": {"size_px": 3}}, "/options/size_px"),
    ({"options": {"batch_size": 2, "gram": "no"}}, "/options/gram"),
    ({"options": {"colour": 1}}, "/options/colour"),
    ({"options": {"style_weights": {"relu9_9": 1.0}}}, "/options/style_weights"),
    ({"options": {"style_weights": {"relu1_9": 1.0}}}, "/options/style_weights"),
    ({"options": {"style_weights": {"": 1.0}}}, "/options/style_weights"),
    ({"options": {"content_layer": "foo"}}, "/options/content_layer"),
    ({"options": {"content_layer": "relu9_1"}}, "/options/content_layer"),
    ({"options": {"style_factors": [3.0]}}, "/options/style_factors"),
    ({"options": {"style_strokes": [2.0]}}, "/options/style_strokes"),
    ({"family": FAMILY.name, "options": {"style_factors": [3.0]}}, "/options/style_factors"),
    ({"options": {"network": "resnet18"}}, "/options"),  # with the preset's layers, those of a VGG
    ({"initial": "nobody"}, "/initial"),
    ({"initial": "great_wave@00000000"}, "/initial"),
    ({"initial": "great_wave@12"}, "/initial"),
    ({"initial": "great_wave", "options": {"transformer": {"width": 8}}}, "/initial"),
    ({"samples": ["s3://nst/none.jpg"]}, "/samples/0"),
    ({"samples": ["s3://nst/tenants/stranger/a.jpg"]}, "/samples/0"),
    ({"samples": ["s3://nst/a.jpg"] * 9}, "/samples"),
    ({"held_out": -1}, "/held_out"),
    ({"about": {"title": "x" * MAX_ABOUT_BYTES}}, "/about"),
    ({"about": {"title": "a\0b"}}, "/about/title"),
    ({"colour": 1}, "/colour"),
    ({"options": {"batch_size": 64, "size_px": 512}}, "/options"),  # needs more memory than a worker has
    ({"options": {"transformer": {"width": 256}}, "initial": "none"}, "/options/transformer"),  # no style is so large
]


def test_a_wrong_field_is_one_problem_that_points_to_the_field(client: TestClient, runs: RunRig) -> None:
    for changes, pointer in WRONG_FIELDS:
        answer = submit(client, runs, **changes)
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid"), changes
        assert pointer in [error["pointer"] for error in answer.json()["errors"]], (changes, answer.json())
    assert client.get("/v1/runs").json()["data"] == []


def test_a_single_photo_is_refused_unless_none_is_held_out(client: TestClient, runs: RunRig) -> None:
    data = f"s3://nst/{runs.rig.prefix}/one/"
    runs.put(f"{data}1.jpg", b"photo")
    answer = submit(client, runs, data=data)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/held_out")
    assert "There is only 1 photo under" in answer.json()["detail"]
    assert submit(client, runs, data=data, held_out=0).status_code == 202


def test_samples_need_different_names(client: TestClient, runs: RunRig) -> None:
    uris = [f"s3://nst/{runs.rig.prefix}/{folder}/cat.jpg" for folder in "ab"]
    for uri in uris:
        runs.put(uri, picture())
    answer = submit(client, runs, samples=uris)
    assert answer.json()["errors"][0]["pointer"] == "/samples/1"
    assert submit(client, runs, samples=uris[:1]).status_code == 202
    assert runs.next().samples == (uris[0],)


def test_the_name_of_a_shipped_style_is_refused_at_once(client: TestClient, stranger: TestClient, runs: RunRig) -> None:
    answer = submit(client, runs, name="great_wave")
    assert (answer.status_code, answer.json()["code"]) == (409, "style_exists")
    runs.finish(train(client, runs, name="night"))
    for who in (client, stranger):
        assert submit(who, runs, name="night").status_code == 202


def test_the_same_idempotency_key_gives_the_same_run(client: TestClient, runs: RunRig) -> None:
    request, headers = body(runs), {"Idempotency-Key": "k"}
    first = client.post("/v1/styles", json=request, headers=headers)
    again = client.post("/v1/styles", json=request, headers=headers)
    assert again.json()["id"] == first.json()["id"]
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
    other = client.post("/v1/styles", json=request | {"steps": 7}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(client.get("/v1/runs").json()["data"]) == 1


def test_a_repeated_request_for_a_deleted_run_makes_no_other(client: TestClient, runs: RunRig) -> None:
    request, headers = body(runs), {"Idempotency-Key": "k"}
    run_id = client.post("/v1/styles", json=request, headers=headers).json()["id"]
    client.post(f"/v1/runs/{run_id}/cancel")
    client.delete(f"/v1/runs/{run_id}")
    again = client.post("/v1/styles", json=request, headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "idempotency_resource_deleted")
    assert client.get("/v1/runs").json()["data"] == []


def test_photos_from_the_settings_are_used_if_a_request_has_none(runs: RunRig) -> None:
    request = body(runs)
    rig = runs.rig
    rig.service = rig.new_service(rig.database, rig.blobs, training_data=request.pop("data"))
    with connect(runs.rig, TENANT) as client:
        assert client.get("/v1/tenant").json()["training_photos"] is True
        answer = client.post("/v1/styles", json=request)
    assert answer.status_code == 202
    assert answer.json()["data"] == f"s3://nst/{runs.rig.prefix}/photos/"


def test_presets_of_trainings_are_listed(client: TestClient) -> None:
    found = client.get("/v1/training-presets").json()["data"]
    assert [preset["name"] for preset in found] == list(presets())
    assert found[0]["config"]["steps"] == presets()["quick"].config.steps
    assert {preset["name"]: preset["families"] for preset in found if preset["families"]} == {
        "norms": list(families()),
        "instant": list(families()),
    }


def test_the_api_describes_itself(client: TestClient) -> None:
    found = client.get("/openapi.json").json()
    body = found["paths"]["/v1/styles"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/TrainRequest"}
    schema = found["components"]["schemas"]["TrainRequest"]
    assert {"name", "painting", "preset"} <= set(schema["properties"])
    references = re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(schema))
    assert set(references) <= set(found["components"]["schemas"])
    assert "$defs" not in schema
