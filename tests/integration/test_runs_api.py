"""Runs through the real API: which requests are accepted or refused, and what clients can read."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from nst_core.client.resources.runs import ForkRequest, TrainRequest
from nst_core.images import Picture, encode
from nst_core.protocol.segments import sample_uri
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.styles import families, version_of
from nst_core.training.config import TrainConfig
from nst_core.training.curve import COLUMNS, dump_losses
from nst_core.training.presets import presets
from nst_core.training.step_losses import StepLosses
from scheduler.api.app import make_api
from scheduler.api.forms import MAX_JSON_BYTES
from scheduler.domain.errors import QuotaExceededError
from scheduler.domain.keys import new_api_key
from scheduler.runs.requests import MAX_ABOUT_BYTES
from scheduler.store.database import Connection, Database
from scheduler.store.errors import DatabaseUnavailableError
from scheduler.store.tenants import Tenant
from tests.integration.conftest import TENANT, Rig
from tests.integration.run_kit import RunRig, begun, broken, going

#: A family of the package.
FAMILY = next(iter(families().values()))


def picture(width: int = 96, height: int = 80, suffix: str = "jpg") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encode(Picture(rgb=pixels), suffix)


def connect(rig: Rig, tenant: str) -> TestClient:
    key = new_api_key()
    rig.service.keys.add(key, tenant=tenant)
    if tenant != TENANT:  # which may use all places
        rig.add_tenant(tenant)
    api = make_api(rig.service, database=rig.database, broker=rig.broker, blobs=rig.blobs, clock=rig.clock)
    return TestClient(api, headers={"Authorization": f"Bearer {key}"}, raise_server_exceptions=False)


@pytest.fixture
def runs(rig: Rig) -> RunRig:
    rig.service.styles.register_shipped()
    return RunRig(rig)


@pytest.fixture
def client(runs: RunRig) -> Iterator[TestClient]:
    with connect(runs.rig, TENANT) as client:
        yield client


@pytest.fixture
def stranger(runs: RunRig) -> Iterator[TestClient]:
    with connect(runs.rig, "stranger") as client:
        yield client


def body(runs: RunRig, **changes: Any) -> dict[str, Any]:
    """Return a request whose painting and photos are in storage."""
    place = f"s3://nst/{runs.rig.prefix}"
    painting = f"{place}/night.png"
    runs.put(painting, picture(suffix="png"))
    for number in range(3):
        runs.put(f"{place}/photos/{number}.jpg", b"photo")
    runs.put(f"{place}/photos/README.txt", b"text")
    return {"name": "night", "painting": painting, "data": f"{place}/photos", "steps": 100} | changes


def submit(client: TestClient, runs: RunRig, **changes: Any) -> Any:
    runs.rig.clock.advance(0.01)
    return client.post("/v1/styles", json=body(runs, **changes))


def train(client: TestClient, runs: RunRig, **changes: Any) -> str:
    answer = submit(client, runs, **changes)
    assert answer.status_code == 202, answer.json()
    return str(answer.json()["id"])


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
    ({"steps": 0}, "/steps"),
    ({"steps": 10**9}, "/steps"),
    ({"stroke": 0}, "/stroke"),
    ({"strength": 1e9}, "/strength"),
    ({"seed": -1}, "/seed"),
    ({"options": {"size_px": 3}}, "/options/size_px"),
    ({"options": {"batch_size": 2, "gram": "no"}}, "/options/gram"),
    ({"options": {"colour": 1}}, "/options/colour"),
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
        answer = client.post("/v1/styles", json=request)
    assert answer.status_code == 202
    assert answer.json()["data"] == f"s3://nst/{runs.rig.prefix}/photos/"


def test_runs_belong_to_their_tenant(client: TestClient, stranger: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    assert stranger.get("/v1/runs").json()["data"] == []
    posts = {
        "pause": None,
        "resume": None,
        "cancel": None,
        "publish": None,
        "extend": {"steps": 200},
        "fork": {"steps": 9},
    }
    for action, json_body in posts.items():
        assert stranger.post(f"/v1/runs/{run_id}/{action}", json=json_body).status_code == 404, action
    for file in ("", "/losses.csv", "/losses.png", "/samples", "/samples/a_00000001.jpg", "/sheet.jpg", "/painting"):
        assert stranger.get(f"/v1/runs/{run_id}{file}").status_code == 404, file
    assert client.get(f"/v1/runs/{run_id}").json()["status"] == "queued"


def test_runs_are_listed_newest_first_in_pages_and_filtered(client: TestClient, runs: RunRig) -> None:
    ids = [train(client, runs, name=name) for name in ("a", "b", "a", "c")]
    client.post(f"/v1/runs/{ids[3]}/cancel")
    first = client.get("/v1/runs", params={"limit": 3}).json()
    rest = client.get("/v1/runs", params={"limit": 3, "after_id": first["last_id"]}).json()
    assert [run["id"] for run in first["data"] + rest["data"]] == ids[::-1]
    assert (first["has_more"], rest["has_more"]) == (True, False)
    named = client.get("/v1/runs", params={"name": "a"}).json()["data"]
    assert [run["id"] for run in named] == [ids[2], ids[0]]
    assert [run["id"] for run in client.get("/v1/runs", params={"status": "cancelled"}).json()["data"]] == [ids[3]]
    assert client.get("/v1/runs", params={"status": "odd"}).status_code == 422


def test_a_run_shows_its_progress(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    segment = runs.next()
    runs.report(begun(segment), going(segment, 0, note="compiling"))
    run = client.get(f"/v1/runs/{run_id}").json()
    assert (run["status"], run["note"], run["worker"], run["attempt"]) == ("running", "compiling", "w1", 1)
    runs.report(going(segment, 20, losses={"content": 1.0, "total": 2.0}, steps_per_s=4.0))
    run = client.get(f"/v1/runs/{run_id}").json()
    assert (run["step"], run["steps_per_s"], run["eta_s"], run["note"]) == (20, 4.0, 20.0, None)
    assert run["losses"] == {"content": 1.0, "total": 2.0}
    end = runs.trained(segment, 50)
    runs.report(end)
    run = client.get(f"/v1/runs/{run_id}").json()
    assert (run["step"], run["segments"], run["config"]["content_weight"]) == (50, 1, 1.5)
    assert end.checkpoint is not None
    assert run["checkpoints"] == [{"step": 50, "sha256": end.checkpoint.sha256, "uri": end.checkpoint.uri}]
    assert run["photos"]["count"] == 184
    segment = runs.next()
    runs.report(begun(segment), broken(segment, retryable=True))
    run = client.get(f"/v1/runs/{run_id}").json()
    assert (run["status"], run["failures"]) == ("running", 1)
    assert run["error"] == {"code": "engine_failed", "message": "It broke."}


def test_a_finished_run_shows_its_style(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    assert client.get(f"/v1/runs/{run_id}/sheet.jpg").status_code == 404
    runs.finish(run_id)
    run = client.get(f"/v1/runs/{run_id}").json()
    style = client.get("/v1/styles/night").json()
    assert (run["status"], run["published"], run["version"]) == ("succeeded", True, style["version"])
    assert run["evaluation"] == {"ssim": 0.5, "remarks": []}
    assert style["card"]["run"] == run_id
    sheet = client.get(f"/v1/runs/{run_id}/sheet.jpg")
    assert (sheet.content, sheet.headers["content-type"]) == (b"sheet", "image/jpeg")


def test_losses_of_accepted_segments_are_in_one_file(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    for file in ("losses.csv", "losses.png"):
        assert client.get(f"/v1/runs/{run_id}/{file}").status_code == 404
    runs.train_to(run_id, 3, 4, 9)
    answer = client.get(f"/v1/runs/{run_id}/losses.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [int(row["step"]) for row in rows] == list(range(1, 10))
    assert rows[8]["content"] == "2.0"
    png = client.get(f"/v1/runs/{run_id}/losses.png")
    assert (png.content[:8], png.headers["content-type"]) == (b"\x89PNG\r\n\x1a\n", "image/png")


def test_losses_of_workers_of_two_versions_have_the_columns_of_today(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs, steps=4)
    runs.train_to(run_id, 2, 4)
    place = f"s3://nst/tenants/{TENANT}/runs/{run_id}/losses/"
    header = "step,content,style,tv,stability,shift,total,learning_rate,seconds"
    old = [f"{step},2.0,3.0,0.5,0.0,0.25,5.75,0.001,0.5" for step in (1, 2)]
    runs.put(f"{place}1-n.csv", "\r\n".join([header, *old, ""]).encode())
    new = [StepLosses(step=step, content=2.0, style=3.0, tv=0.5, grid=4.0, learning_rate=0.002) for step in (3, 4)]
    runs.put(f"{place}2-n.csv", dump_losses(new))
    rows = list(csv.reader(client.get(f"/v1/runs/{run_id}/losses.csv").text.splitlines()))
    assert rows == [
        [*COLUMNS],
        *([step, "2.0", "3.0", "0.5", "0.0", "0.25", "0.0", "5.75", "0.001", "0.5000"] for step in "12"),
        *([step, "2.0", "3.0", "0.5", "0.0", "0.0", "4.0", "9.5", "0.002", "0.0000"] for step in "34"),
    ]
    assert client.get(f"/v1/runs/{run_id}/losses.png").status_code == 200
    runs.finish(run_id)
    means = client.get("/v1/styles/night").json()["card"]["final_losses"]
    assert (means["shift"], means["grid"], means["total"]) == (0.125, 2.0, 7.625)


def test_samples_are_listed_in_step_order(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    place = f"s3://nst/tenants/{TENANT}/runs/{run_id}/"
    for stem, step in (("my cat", 500), ("dog_1", 250), ("my cat", 250)):
        runs.put(sample_uri(place, stem=stem, step=step), f"{stem} {step}".encode())
    found = client.get(f"/v1/runs/{run_id}/samples").json()["data"]
    assert [(sample["name"], sample["step"]) for sample in found] == [("dog_1", 250), ("my cat", 250), ("my cat", 500)]
    assert found[1]["uri"] == sample_uri(place, stem="my cat", step=250)
    answer = client.get(found[1]["href"])
    assert (answer.content, answer.headers["content-type"]) == (b"my cat 250", "image/jpeg")
    for file in ("none_00000001.jpg", "..%2Fpainting.png", "%2e%2e", "a%00"):
        assert client.get(f"/v1/runs/{run_id}/samples/{file}").status_code == 404, file


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
