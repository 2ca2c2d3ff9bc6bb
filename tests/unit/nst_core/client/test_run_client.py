"""Training and style version calls of the client against a real HTTP server with prepared answers."""

import json
from collections.abc import Callable, Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from nst_core.client import ApiError, Client, RunClient
from nst_core.client.resources.runs import ForkRequest, KeptCheckpoint, Parent, Photos, Run, RunStatus, TrainRequest
from tests.clients import Connect
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api, problem
from tests.unit.scheduler.canned_runs import LOSSES, OTHER_ID, PRESETS, RUN_ID, going_json, run_json, sample_json

BUSY = Answer(status=503)
REQUEST = TrainRequest(name="night", painting="s3://nst/night.png")


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with canned_api() as server:
        yield server


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(api: CannedApi, connect: Connect, pauses: list[float]) -> Iterator[Client]:
    with connect(api.url, "nst_key", sleep=pauses.append) as client:
        yield client


@pytest.fixture
def runs(client: Client) -> RunClient:
    return client.runs


def test_a_run_is_read_with_all_fields(api: CannedApi, runs: RunClient) -> None:
    photos = {"count": 90, "held_out": 16, "skipped": 1, "reasons": {"a.jpg": "No image."}, "warning": "Few."}
    more = {
        "photos": photos,
        "checkpoints": [{"step": 500, "sha256": "ab" * 32, "uri": "s3://nst/c"}],
        "parent": {"run": OTHER_ID, "step": 100},
        "error": {"code": "worker_lost", "message": "It fell silent."},
        "something_new": 1,
    }
    api.on("GET", f"/v1/runs/{RUN_ID}", Answer(body=going_json(500, segments=7, **more)))
    run = runs.get(RUN_ID)
    assert (run.status, run.step, run.steps, run.losses) == (RunStatus.RUNNING, 500, 2000, LOSSES)
    assert run.photos == Photos(count=90, held_out=16, skipped=1, reasons={"a.jpg": "No image."}, warning="Few.")
    assert run.checkpoints == (KeptCheckpoint(step=500, sha256="ab" * 32, uri="s3://nst/c"),)
    assert run.parent == Parent(run=OTHER_ID, step=100)
    assert run.error is not None
    assert run.error.code == "worker_lost"


def test_a_training_request_omits_values_left_to_the_api(api: CannedApi, runs: RunClient) -> None:
    api.on("POST", "/v1/styles", BUSY, Answer(status=202, body=run_json("queued")))
    assert runs.train(REQUEST).status is RunStatus.QUEUED
    first, again = api.requests
    assert json.loads(first.body) == {
        "name": "night",
        "painting": "s3://nst/night.png",
    }
    assert first.headers["Idempotency-Key"] == again.headers["Idempotency-Key"]


def test_each_training_has_a_new_idempotency_key_unless_one_is_given(api: CannedApi, runs: RunClient) -> None:
    api.on("POST", "/v1/styles", Answer(status=202, body=run_json("queued")))
    for key in (None, None, "mine"):
        runs.train(REQUEST, idempotency_key=key)
    keys = [request.headers["Idempotency-Key"] for request in api.requests]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


@pytest.mark.parametrize("as_path", [True, False])
def test_a_painting_can_be_sent_with_the_request(
    api: CannedApi, runs: RunClient, tmp_path: Path, as_path: bool
) -> None:
    (tmp_path / "nächt.png").write_bytes(b"\x89PNG")
    api.on("POST", "/v1/styles", BUSY, Answer(status=202, body=run_json("queued")))
    runs.train(TrainRequest(name="night", steps=7), painting=tmp_path / "nächt.png" if as_path else b"\x89PNG")
    assert api.requests[0].body.count(b"\x89PNG") == api.requests[1].body.count(b"\x89PNG") == 1
    request = api.requests[1]
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    parts: dict[str, Any] = {
        str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
        for part in message_from_bytes(head + request.body).walk()
        if not part.is_multipart()
    }
    assert parts["painting"] == b"\x89PNG"
    body = json.loads(parts["request"])
    assert (body["name"], body["steps"]) == ("night", 7)
    assert "painting" not in body


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda runs: runs.pause(RUN_ID), "pause"),
        (lambda runs: runs.resume(RUN_ID), "resume"),
        (lambda runs: runs.cancel(RUN_ID), "cancel"),
        (lambda runs: runs.publish(RUN_ID), "publish"),
    ],
)
def test_runs_are_paused_resumed_and_cancelled(
    api: CannedApi, runs: RunClient, call: Callable[[RunClient], Run], path: str
) -> None:
    api.on("POST", f"/v1/runs/{RUN_ID}/{path}", Answer(status=202, body=run_json("pausing")))
    assert call(runs).status is RunStatus.PAUSING


def test_a_run_is_extended_to_a_number_of_steps(api: CannedApi, runs: RunClient) -> None:
    api.on("POST", f"/v1/runs/{RUN_ID}/extend", Answer(status=202, body=run_json("queued", steps=2500)))
    assert runs.extend(RUN_ID, steps=2500).steps == 2500
    assert json.loads(api.requests[0].body) == {"steps": 2500}


def test_a_fork_request_has_only_the_differences(api: CannedApi, runs: RunClient) -> None:
    api.on("POST", f"/v1/runs/{RUN_ID}/fork", BUSY, Answer(status=202, body=run_json("queued", id=OTHER_ID)))
    request = ForkRequest(steps=300, step=1000, options={"tv_weight": 1}, publish=False)
    assert runs.fork(RUN_ID, request).id == OTHER_ID
    first, again = api.requests
    assert json.loads(first.body) == {"steps": 300, "step": 1000, "options": {"tv_weight": 1}, "publish": False}
    assert first.headers["Idempotency-Key"] == again.headers["Idempotency-Key"]


def test_runs_are_read_from_all_pages(api: CannedApi, runs: RunClient) -> None:
    query = "/v1/runs?limit=1&status=running&name=a%26b"
    api.on("GET", query, Answer(body={"data": [run_json(id=OTHER_ID)], "has_more": True, "last_id": OTHER_ID}))
    api.on("GET", f"{query}&after_id={OTHER_ID}", Answer(body={"data": [run_json()], "last_id": RUN_ID}))
    found = runs.all(name="a&b", status=RunStatus.RUNNING, page=1)
    assert [run.id for run in found] == [OTHER_ID, RUN_ID]


def test_the_newest_run_with_a_name_needs_one_call(api: CannedApi, runs: RunClient) -> None:
    page = {"data": [run_json(id=OTHER_ID)], "has_more": True, "last_id": OTHER_ID}
    api.on("GET", "/v1/runs?limit=1&name=night", Answer(body=page))
    api.on("GET", "/v1/runs?limit=1&name=day", Answer(body={"data": [], "has_more": False, "last_id": None}))
    newest = runs.newest("night")
    assert newest is not None
    assert newest.id == OTHER_ID
    assert runs.newest("day") is None
    assert len(api.requests) == 2


def test_pictures_and_losses_are_bytes(api: CannedApi, runs: RunClient) -> None:
    for name in ("losses.csv", "losses.png", "sheet.jpg", "painting", "samples/a%20b_00000250.jpg"):
        api.on("GET", f"/v1/runs/{RUN_ID}/{name}", Answer(body=name.encode()))
    samples = {"data": [sample_json("a b", 250)]}
    api.on("GET", f"/v1/runs/{RUN_ID}/samples", Answer(body=samples))
    [sample] = runs.samples(RUN_ID)
    assert (sample.name, sample.step, sample.id) == ("a b", 250, "a b_00000250.jpg")
    assert runs.sample(RUN_ID, sample.id) == b"samples/a%20b_00000250.jpg"
    assert runs.losses(RUN_ID) == b"losses.csv"
    assert runs.curve(RUN_ID) == b"losses.png"
    assert runs.sheet(RUN_ID) == b"sheet.jpg"
    assert runs.painting(RUN_ID) == b"painting"


def test_addresses_shown_to_users_are_those_that_the_client_calls(api: CannedApi, runs: RunClient) -> None:
    api.on("GET", f"/v1/runs/{RUN_ID}/samples", Answer(body={"data": [sample_json("ä", 5)]}))
    [sample] = runs.samples(RUN_ID)
    assert runs.sample_url(RUN_ID, sample) == f"{api.url}/v1/runs/{RUN_ID}/samples/%C3%A4_00000005.jpg"
    assert runs.curve_url(RUN_ID) == f"{api.url}/v1/runs/{RUN_ID}/losses.png"
    assert runs.sheet_url(RUN_ID) == f"{api.url}/v1/runs/{RUN_ID}/sheet.jpg"


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled", "paused"])
def test_wait_ends_when_a_run_needs_a_user_to_continue(
    api: CannedApi, runs: RunClient, pauses: list[float], status: str
) -> None:
    answers = [run_json("queued"), run_json(), run_json("pausing"), run_json("evaluating"), run_json(status)]
    api.on("GET", f"/v1/runs/{RUN_ID}", *(Answer(body=body) for body in answers))
    seen: list[str] = []
    assert runs.wait(RUN_ID, on_poll=lambda run: seen.append(run.status), poll_s=2).status == status
    assert seen == ["queued", "running", "pausing", "evaluating", status]
    assert pauses == [2] * 4


def test_wait_times_out(api: CannedApi, connect: Connect) -> None:
    api.on("GET", f"/v1/runs/{RUN_ID}", Answer(body=run_json()))
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    with connect(api.url, sleep=sleep, clock=lambda: now) as client, pytest.raises(TimeoutError, match="still running"):
        client.runs.wait(RUN_ID, poll_s=1, timeout_s=3)


def test_presets_of_trainings_are_listed(api: CannedApi, runs: RunClient) -> None:
    api.on("GET", "/v1/training-presets", Answer(body=PRESETS))
    standard, norms = runs.presets()
    assert (standard.name, standard.summary) == ("standard", "2,000 steps")
    assert standard.config == {"steps": 2000, "style_size_px": 640}
    assert (standard.families, norms.families) == ((), ("painters",))


def test_a_refusal_is_an_error_with_the_code_of_the_answer(api: CannedApi, runs: RunClient) -> None:
    api.on("POST", "/v1/styles", problem(422, "request_invalid", "The painting is no picture."))
    with pytest.raises(ApiError, match="no picture") as caught:
        runs.train(REQUEST)
    assert (caught.value.status, caught.value.code) == (422, "request_invalid")


def test_versions_of_a_style_are_read_published_and_deleted(api: CannedApi, client: Client) -> None:
    created = "2026-11-22T01:00:00Z"
    old, new = ({"name": "night", "version": digit * 64, "card": {}, "created_at": created} for digit in "12")
    made = {**new, "current": True, "run": RUN_ID}
    api.on("GET", "/v1/styles/night/versions?limit=200", Answer(body={"data": [made, old]}))
    api.on("GET", "/v1/styles/night?version=11111111", Answer(body=old))
    api.on("GET", "/v1/styles/night/weights?version=11111111", Answer(body=b"old"))
    api.on("GET", "/v1/styles/night/weights", Answer(body=b"new"))
    api.on("POST", "/v1/styles/night/publish", Answer(body=old))
    api.on("DELETE", "/v1/styles/night", Answer(status=204, body=b""))
    versions = client.style_versions("night")
    assert [(each.version[0], each.current, each.run) for each in versions] == [("2", True, RUN_ID), ("1", False, None)]
    assert client.style("night", version="11111111").version == "1" * 64
    assert client.style_weights("night", version="11111111") == b"old"
    assert client.style_weights("night") == b"new"
    assert client.publish_style("night", "11111111").version == "1" * 64
    assert json.loads(api.requests[-1].body) == {"version": "11111111"}
    client.delete_style("night")
    assert api.requests[-1].method == "DELETE"
