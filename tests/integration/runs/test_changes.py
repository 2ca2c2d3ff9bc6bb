"""Changes that clients make to runs: pause, resume, cancel, extend, fork and publish."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nst_core.protocol.segments import Phase
from nst_core.storage.blobs import BlobUri
from nst_core.training.config import DEFAULT_STYLE_WEIGHTS
from scheduler.domain.runs import place_key
from scheduler.store import runs as run_rows
from scheduler.store import segments as segment_rows
from scheduler.store.tenants import Tenant
from tests.integration.conftest import LEASE_S, TENANT
from tests.integration.runs.api_kit import connect, picture, train
from tests.integration.runs.kit import RunRig, begun, broken, finished
from tests.integration.test_deletion import remove


def post(client: TestClient, run_id: str, action: str, **body: Any) -> Any:
    return client.post(f"/v1/runs/{run_id}/{action}", json=body or None)


def status(client: TestClient, run_id: str) -> str:
    return str(client.get(f"/v1/runs/{run_id}").json()["status"])


def test_a_run_is_paused_at_its_next_checkpoint_and_resumes_there(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    segment = runs.next()
    runs.report(begun(segment))
    for _ in range(2):
        answer = post(client, run_id, "pause")
        assert (answer.status_code, answer.json()["status"]) == (202, "pausing")
    end = runs.trained(segment, 30)
    runs.report(end)
    assert status(client, run_id) == "paused"
    runs.tick()
    assert runs.take() is None
    assert post(client, run_id, "resume").json()["status"] == "queued"
    again = runs.next()
    assert (again.checkpoint, again.attempt) == (end.checkpoint, 2)
    assert not runs.rig.broker.is_stopped(run_id, again.attempt)
    runs.report(begun(again), runs.trained(again, 100))
    runs.finish(run_id)
    assert status(client, run_id) == "succeeded"


def test_a_run_with_no_live_segment_is_paused_and_cancelled_at_once(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    assert post(client, run_id, "pause").json()["status"] == "paused"
    assert post(client, run_id, "cancel").json()["status"] == "cancelled"
    assert client.get(f"/v1/runs/{run_id}").json()["finished_at"] is not None
    assert post(client, run_id, "pause").status_code == 409
    assert post(client, run_id, "cancel").json()["status"] == "cancelled"


def test_a_run_that_has_ended_continues_only_within_the_quota(client: TestClient, runs: RunRig) -> None:
    runs.rig.service.tenants.put(Tenant(id=TENANT, limits={"max_unfinished_runs": 1}))
    cancelled = train(client, runs)
    post(client, cancelled, "cancel")
    succeeded = train(client, runs, name="dusk")
    runs.finish(succeeded)
    other = train(client, runs, name="dawn")
    for run_id, action, options in ((cancelled, "resume", {}), (succeeded, "extend", {"steps": 300})):
        before = client.get(f"/v1/runs/{run_id}").json()
        answer = post(client, run_id, action, **options)
        assert answer.json()["code"] == "quota_exceeded", answer.json()
        assert client.get(f"/v1/runs/{run_id}").json() == before
    assert post(client, other, "pause").json()["status"] == "paused"
    assert post(client, other, "resume").json()["status"] == "queued", "it was counted all the time"
    assert post(client, other, "extend", steps=200).status_code == 202
    post(client, other, "cancel")
    assert post(client, cancelled, "resume").json()["status"] == "queued"


def test_a_pause_can_be_undone(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    segment = runs.next()
    runs.report(begun(segment))
    post(client, run_id, "pause")
    assert post(client, run_id, "resume").json()["status"] == "running"
    runs.report(runs.trained(segment, 12))
    assert status(client, run_id) == "running"
    assert runs.next().attempt == 2


def test_a_cancelled_run_keeps_its_checkpoint_and_can_be_resumed(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    runs.train_to(run_id, 40)
    segment = runs.next()
    runs.report(begun(segment))
    assert post(client, run_id, "pause").json()["status"] == "pausing"
    assert post(client, run_id, "cancel").json()["status"] == "cancelling"
    for action in ("pause", "resume"):
        assert post(client, run_id, action).status_code == 409
    runs.report(finished(segment, step=40))
    assert status(client, run_id) == "cancelled"
    while runs.tidier.tick():
        pass
    checkpoint = client.get(f"/v1/runs/{run_id}").json()["checkpoints"][-1]
    assert checkpoint["step"] == 40
    assert runs.rig.blobs.exists(BlobUri.parse(checkpoint["uri"]))
    run = post(client, run_id, "resume").json()
    assert (run["status"], run["finished_at"], run["step"]) == ("queued", None, 40)


def test_resuming_a_failed_run_resets_its_failures(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    segment = runs.next()
    runs.report(begun(segment), broken(segment, retryable=False, code="blob_access_denied"))
    failed = client.get(f"/v1/runs/{run_id}").json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "blob_access_denied")
    run = post(client, run_id, "resume").json()
    assert (run["status"], run["failures"], run["error"]) == ("queued", 0, None)
    runs.finish(run_id)
    assert status(client, run_id) == "succeeded"
    assert post(client, run_id, "resume").status_code == 409


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "paused", "running"])
def test_a_run_can_be_extended_in_every_state(client: TestClient, runs: RunRig, end: str) -> None:
    run_id = train(client, runs)
    runs.train_to(run_id, 100 if end == "succeeded" else 50)
    if end == "succeeded":
        runs.finish(run_id)
    elif end == "failed":
        segment = runs.next()
        runs.report(begun(segment), broken(segment, retryable=False))
    elif end != "running":
        post(client, run_id, {"cancelled": "cancel", "paused": "pause"}[end])
    assert status(client, run_id) == end
    step = runs.run(run_id).step
    answer = post(client, run_id, "extend", steps=300)
    assert answer.status_code == 202, answer.json()
    run = answer.json()
    assert run["status"] == ("running" if end == "running" else "queued")
    assert (run["step"], run["steps"], run["config"]["steps"], run["finished_at"]) == (step, 300, 300, None)
    segment = runs.next()
    assert (segment.phase, segment.config["steps"], segment.checkpoint) == (
        Phase.TRAIN,
        300,
        runs.run(run_id).checkpoint,
    )
    runs.report(begun(segment), runs.trained(segment, 300))
    runs.finish(run_id, style="great_wave")
    run = client.get(f"/v1/runs/{run_id}").json()
    assert (run["status"], run["step"]) == ("succeeded", 300)
    if end == "succeeded":
        assert len(client.get("/v1/styles/night/versions").json()["data"]) == 2


def test_a_repeated_extension_changes_nothing(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    answers = [post(client, run_id, "extend", steps=300) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[1].json()["steps"] == 300
    assert runs.run(run_id).steps == 300


def test_a_run_that_cannot_be_extended_gives_the_reason(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    fewer = post(client, run_id, "extend", steps=99)
    assert (fewer.status_code, fewer.json()["errors"][0]["pointer"]) == (422, "/steps")
    assert post(client, run_id, "extend", steps=0).status_code == 422
    runs.train_to(run_id, 100)
    assert (status(client, run_id), post(client, run_id, "extend", steps=300).status_code) == ("evaluating", 409)
    post(client, run_id, "pause")
    post(client, run_id, "resume")
    segment = runs.next()
    assert segment.phase is Phase.EVALUATE
    assert post(client, run_id, "extend", steps=300).status_code == 409
    other = train(client, runs, name="other")
    post(client, other, "cancel")
    assert post(client, other, "extend", steps=300).status_code == 409, "it has no checkpoint"


def test_a_running_segment_that_was_sent_before_an_extension_does_not_end_the_run(
    client: TestClient, runs: RunRig
) -> None:
    run_id = train(client, runs)
    segment = runs.next()
    runs.report(begun(segment))
    post(client, run_id, "extend", steps=200)
    runs.report(runs.trained(segment, 100))
    assert status(client, run_id) == "running"
    assert runs.next().config["steps"] == 200


def test_a_fork_starts_from_its_own_copy_of_a_checkpoint(client: TestClient, runs: RunRig) -> None:
    parent = train(client, runs, options={"learning_rate": 0.002})
    runs.train_to(parent, 20, 40, 60)
    post(client, parent, "cancel")
    runs.rig.clock.advance(1)
    options = {"tv_weight": 0.5}
    answer = post(client, parent, "fork", steps=70, step=40, name="dawn", options=options, stroke=2.0)
    assert answer.status_code == 202, answer.json()
    fork = answer.json()
    assert answer.headers["Location"] == f"/v1/runs/{fork['id']}"
    assert (fork["name"], fork["step"], fork["steps"]) == ("dawn", 0, 70)
    assert fork["parent"] == {"run": parent, "step": 40}
    config = runs.run(parent).config
    assert config is not None
    assert fork["config"] == config | options | {"steps": 70, "style_size_px": 2 * config["style_size_px"]}
    segment = runs.next()
    assert (segment.run_id, segment.checkpoint) == (fork["id"], None)
    assert segment.initial is not None
    data = runs.rig.blobs.get(BlobUri.parse(segment.initial.uri))
    assert hashlib.sha256(data).hexdigest() == segment.initial.sha256
    assert data == b"checkpoint 40 of 2 n"
    assert segment.initial.uri.startswith(segment.place)
    runs.report(begun(segment), runs.trained(segment, 70))
    runs.finish(fork["id"])
    while runs.tidier.tick():
        pass
    assert runs.rig.blobs.exists(BlobUri.parse(segment.initial.uri)), "an extension of the fork may need it"
    card = client.get("/v1/styles/dawn").json()["card"]
    assert card["parent"] == {"run": parent, "step": 40}
    assert card["made_from"]["initial"] == f"{parent}:40"


def test_a_fork_outlives_its_parent(client: TestClient, runs: RunRig) -> None:
    parent = train(client, runs)
    runs.train_to(parent, 40)
    post(client, parent, "cancel")
    runs.rig.clock.advance(1)
    fork = post(client, parent, "fork", steps=70).json()
    painting = client.get(f"/v1/runs/{parent}/painting")
    assert client.delete(f"/v1/runs/{parent}").status_code == 204
    remove(runs.rig)
    assert runs.rig.blobs.list_keys(BlobUri("nst", place_key(TENANT, parent))) == []
    segment = runs.next()
    assert segment.initial is not None
    for file in (segment.painting, segment.initial):
        data = runs.rig.blobs.get(BlobUri.parse(file.uri))
        assert hashlib.sha256(data).hexdigest() == file.sha256
    copy = client.get(f"/v1/runs/{fork['id']}/painting")
    assert (copy.content, copy.headers["content-type"]) == (painting.content, "image/png")


def test_a_repeated_request_gets_its_fork_after_the_parent_was_deleted(client: TestClient, runs: RunRig) -> None:
    parent = train(client, runs)
    runs.train_to(parent, 40)
    post(client, parent, "cancel")
    runs.rig.clock.advance(1)
    headers = {"Idempotency-Key": "k"}
    fork = client.post(f"/v1/runs/{parent}/fork", json={"steps": 70}, headers=headers).json()
    client.delete(f"/v1/runs/{parent}")
    again = client.post(f"/v1/runs/{parent}/fork", json={"steps": 70}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, fork["id"])
    post(client, fork["id"], "cancel")
    client.delete(f"/v1/runs/{fork['id']}")
    for _ in range(2):
        again = client.post(f"/v1/runs/{parent}/fork", json={"steps": 70}, headers=headers)
        assert (again.status_code, again.json()["code"]) == (409, "idempotency_resource_deleted")
        remove(runs.rig)


def test_a_fork_uses_the_newest_checkpoint_and_may_have_another_strength(client: TestClient, runs: RunRig) -> None:
    parent = train(client, runs, publish=False, strength=0.5)
    weights = client.get(f"/v1/runs/{parent}").json()["config"]["style_weights"]
    runs.train_to(parent, 20, 60)
    post(client, parent, "pause")
    runs.rig.clock.advance(1)
    headers = {"Idempotency-Key": "k"}
    forks = [
        client.post(f"/v1/runs/{parent}/fork", json={"steps": 10, "strength": 2.0}, headers=headers).json()
        for _ in range(2)
    ]
    assert forks[0]["id"] == forks[1]["id"]
    assert (forks[0]["parent"]["step"], forks[0]["name"], forks[0]["publish"]) == (60, "night", False)
    assert forks[0]["strength"] == 2.0
    assert runs.next().config["style_weights"] == {layer: 4 * weight for layer, weight in weights.items()}


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({"style_weights": {"relu1_2": 4.0}}, {"relu1_2": 8.0}),
        ({"gram": "chw"}, {layer: 2 * weight for layer, weight in DEFAULT_STYLE_WEIGHTS.items()}),
    ],
)
def test_the_strength_of_a_fork_with_weights_of_its_own_is_relative_to_these(
    client: TestClient, runs: RunRig, options: dict[str, Any], weights: dict[str, float]
) -> None:
    parent = train(client, runs, strength=0.5)
    runs.train_to(parent, 20)
    post(client, parent, "pause")
    fork = post(client, parent, "fork", steps=10, name="dusk", strength=2.0, options=options)
    assert fork.status_code == 202, fork.json()
    assert fork.json()["config"]["style_weights"] == weights


@pytest.mark.parametrize(
    ("options", "field", "first", "second"),
    [
        ({"style_weights": {"relu1_2": 4.0}}, "style_weights", {"relu1_2": 8.0}, {"relu1_2": 4.0}),
        (
            {"gram": "chw"},
            "style_weights",
            {layer: 2 * weight for layer, weight in DEFAULT_STYLE_WEIGHTS.items()},
            DEFAULT_STYLE_WEIGHTS,
        ),
        ({"style_size_px": 300}, "style_size_px", 450, 300),
    ],
)
def test_the_strength_and_the_stroke_that_a_fork_inherits_are_in_its_config(
    client: TestClient, runs: RunRig, options: dict[str, Any], field: str, first: object, second: object
) -> None:
    parent = train(client, runs, strength=2.0, stroke=1.5)
    runs.train_to(parent, 20)
    post(client, parent, "pause")
    fork = post(client, parent, "fork", steps=100, name="dusk", options=options).json()
    assert (fork["strength"], fork["stroke"], fork["config"][field]) == (2.0, 1.5, first)
    runs.train_to(fork["id"], 20)
    post(client, fork["id"], "pause")
    other = post(client, fork["id"], "fork", steps=100, name="dawn", strength=1.0, stroke=1.0).json()
    assert (other["strength"], other["stroke"], other["config"][field]) == (1.0, 1.0, second)


def test_a_fork_keeps_what_its_options_do_not_say_of_the_network(client: TestClient, runs: RunRig) -> None:
    parent = train(client, runs)
    runs.train_to(parent, 20)
    before = client.get(f"/v1/runs/{parent}").json()["config"]["transformer"]
    answer = post(client, parent, "fork", steps=10, name="dusk", options={"transformer": {"grain": 3}})
    assert answer.status_code == 202, answer.json()
    assert answer.json()["config"]["transformer"] == before | {"grain": 3}


LOOK = {"stroke": "varied", "faces": "protect"}


def edit_card(client: TestClient, runs: RunRig, name: str, **changes: Any) -> None:
    """Change the card of a style's present version as people do: by an import that replaces it."""
    style = client.get(f"/v1/styles/{name}").json()
    weights = f"s3://nst/{runs.rig.prefix}/edited.safetensors"
    runs.put(weights, client.get(f"/v1/styles/{name}/weights").content)
    body = {"weights": weights, "card": style["card"] | changes, "replace": True}
    assert client.put(f"/v1/styles/{name}", json=body).json()["version"] == style["version"]


def test_an_extended_run_keeps_what_was_written_into_its_card(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs, about={"title": "Nigth", "look": {"stroke": 2}})
    runs.finish(run_id)
    edit_card(client, runs, "night", title="Night", artist="Someone", look=LOOK)
    before = client.get("/v1/styles/night").json()
    post(client, run_id, "extend", steps=300)
    runs.finish(run_id, style="great_wave")
    after = client.get("/v1/styles/night").json()
    assert after["version"] != before["version"]
    assert {name: after["card"][name] for name in ("title", "artist", "look")} == {
        "title": "Night",
        "artist": "Someone",
        "look": LOOK,
    }
    assert (after["card"]["steps"], after["card"]["run"]) == (300, run_id)


def test_a_run_whose_extension_is_cancelled_keeps_the_sheet_of_its_version(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    runs.finish(run_id)
    before = client.get(f"/v1/runs/{run_id}").json()
    post(client, run_id, "extend", steps=200)
    runs.train_to(run_id, 150)
    post(client, run_id, "cancel")
    runs.tidier.tick()
    after = client.get(f"/v1/runs/{run_id}").json()
    assert (after["status"], after["step"], after["version"]) == ("cancelled", 150, before["version"])
    assert after["evaluation"] == before["evaluation"]
    assert client.get(f"/v1/runs/{run_id}/sheet.jpg").content == b"sheet"
    post(client, run_id, "resume")
    runs.finish(run_id, style="great_wave")
    runs.tidier.tick()
    last = client.get(f"/v1/runs/{run_id}").json()
    assert (last["status"], last["step"]) == ("succeeded", 200)
    assert last["version"] != before["version"]
    assert client.get(f"/v1/runs/{run_id}/sheet.jpg").status_code == 200
    files = runs.rig.blobs.list_keys(BlobUri("nst", f"{place_key(TENANT, run_id)}result/"))
    assert len(files) == 2, "those of the version before are removed when there is a new one"


@pytest.mark.parametrize("action", ["pause", "cancel"])
def test_the_result_of_an_extension_is_published_before_anything_else_happens(
    client: TestClient, runs: RunRig, action: str
) -> None:
    run_id = train(client, runs)
    runs.finish(run_id)
    post(client, run_id, "extend", steps=200)
    runs.train_to(run_id, 200)
    segment = runs.next()
    runs.report(begun(segment), runs.evaluated(segment, style="great_wave"))
    answer = post(client, run_id, action)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "is being published" in answer.json()["detail"]
    runs.finisher.tick()
    assert status(client, run_id) == "succeeded"
    runs.tidier.tick()
    assert client.get(f"/v1/runs/{run_id}/sheet.jpg").content == b"sheet"


def test_a_run_whose_layers_never_existed_has_nothing_to_fork(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    spec = runs.run(run_id).spec
    wrong = replace(spec, config={**spec.config, "content_layer": "relu9_9"})  # as earlier schedulers accepted it
    with runs.rig.database.write() as connection:
        run_rows.update_run(connection, run_id, spec=wrong)
    answer = post(client, run_id, "fork", steps=10)
    assert (answer.status_code, answer.json()["detail"]) == (409, f"{run_id} has no checkpoint yet.")


def test_the_work_of_a_run_does_not_count_waiting_and_pauses(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    assert client.get(f"/v1/runs/{run_id}").json()["work_s"] == 0
    runs.train_to(run_id, 50)
    post(client, run_id, "pause")
    runs.rig.clock.advance(86_400)
    post(client, run_id, "resume")
    runs.finish(run_id)
    runs.rig.clock.advance(86_400)
    post(client, run_id, "extend", steps=300)
    runs.finish(run_id, style="great_wave")
    # Three segments of training, and two that measured.
    assert client.get(f"/v1/runs/{run_id}").json()["work_s"] == 3 * 7.5 + 2 * 1.0


@pytest.mark.parametrize("name", ["night", "dawn"])
def test_a_fork_keeps_what_was_written_into_the_card_of_its_parent(client: TestClient, runs: RunRig, name: str) -> None:
    parent = train(client, runs, about={"title": "Nigth"})
    runs.finish(parent)
    edit_card(client, runs, "night", title="Night", look=LOOK)
    fork = post(client, parent, "fork", steps=10, name=name).json()
    assert fork["about"] == {"title": "Night", "look": LOOK}
    runs.finish(fork["id"], style="great_wave")
    card = client.get(f"/v1/styles/{name}").json()["card"]
    assert (card["title"], card["look"], card["parent"]["run"]) == ("Night", LOOK, parent)


@pytest.mark.parametrize("publisher", ["end", "run", "style"])
def test_a_new_training_takes_the_look_and_of_the_same_painting_its_names(
    client: TestClient, runs: RunRig, publisher: str
) -> None:
    def card_after(style: str, **changes: Any) -> Any:
        run_id = train(client, runs, publish=publisher == "end", **changes)
        if publisher == "end":
            edit_card(client, runs, "night", look=LOOK)
        runs.finish(run_id, style=style)
        if publisher != "end":
            edit_card(client, runs, "night", look=LOOK)  # the name still stands for the version before
        version = client.get(f"/v1/runs/{run_id}").json()["version"]
        if publisher == "run":
            post(client, run_id, "publish")
        elif publisher == "style":
            client.post("/v1/styles/night/publish", json={"version": version})
        found = client.get("/v1/styles/night").json()
        assert found["version"] == version
        return found["card"]

    runs.finish(train(client, runs, about={"title": "Night", "rights": "Free"}))
    card = card_after("great_wave", about={"title": "Starry Night"})
    assert (card["title"], card["rights"], card["look"]) == ("Starry Night", "Free", LOOK)
    other = f"s3://nst/{runs.rig.prefix}/day.png"
    runs.put(other, picture(100, 80, suffix="png"))
    card = card_after("the_scream", painting=other)
    assert card["look"] == LOOK
    assert not card.keys() & {"title", "rights"}
    assert card_after("wheat_field", about={"look": {}})["look"] == {}


def test_a_version_that_was_published_before_keeps_its_card(client: TestClient, runs: RunRig) -> None:
    first = train(client, runs)
    runs.finish(first)
    runs.finish(train(client, runs), style="great_wave")
    edit_card(client, runs, "night", look=LOOK)
    post(client, first, "publish")
    assert "look" not in client.get("/v1/styles/night").json()["card"]


def test_a_run_that_cannot_be_forked_gives_the_reason(client: TestClient, runs: RunRig) -> None:
    parent = train(client, runs)
    assert post(client, parent, "fork", steps=10).status_code == 409, "there is no checkpoint yet"
    runs.train_to(parent, 20)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"step": 19}, "/step"),
        ({"options": {"size_px": 1}}, "/options/size_px"),
        ({"options": {"transformer": {"width": 8}}}, "/options/transformer"),
        ({"options": {"style_factors": [3.0]}}, "/options/style_factors"),
        ({"options": {"trained": "identity"}}, "/options"),
        ({"options": {"style_strokes": [2.0]}}, "/options/style_strokes"),
        ({"options": {"content_layer": "relu9_1"}}, "/options/content_layer"),
        ({"options": {"style_weights": {"relu1_9": 1.0}}}, "/options/style_weights"),
        ({"stroke": 20.0, "options": {"style_size_px": 0}}, "/options/style_size_px"),
        ({"strength": 1e9}, "/strength"),
        ({"colour": 1}, "/colour"),
    ]
    for changes, pointer in cases:
        answer = post(client, parent, "fork", **({"steps": 10} | changes))
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.json()
    taken = post(client, parent, "fork", steps=10, name="great_wave")
    assert (taken.status_code, taken.json()["code"]) == (409, "style_exists")


def test_a_fork_of_a_style_of_a_family_learns_what_that_learned(client: TestClient, runs: RunRig) -> None:
    parent = train(client, runs, family="painters")
    runs.train_to(parent, 20)
    post(client, parent, "pause")
    for trained in ("all", "identity"):
        options = {"trained": trained, "identity_weight": 10.0}
        answer = post(client, parent, "fork", steps=10, options=options)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/options/trained")
    assert post(client, parent, "fork", steps=10, options={"identity_weight": 10.0}).status_code == 202


def test_the_identity_does_not_learn_alone_from_a_checkpoint(client: TestClient, runs: RunRig) -> None:
    parent = train(client, runs, options={"identity_weight": 10.0, "transformer": {"styles": 2}})
    runs.train_to(parent, 20)
    answer = post(client, parent, "fork", steps=10, options={"trained": "identity"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/options/trained"), answer.json()


def test_a_run_without_its_files_or_its_photos_cannot_be_forked(client: TestClient, runs: RunRig) -> None:
    parent = train(client, runs)
    runs.train_to(parent, 50)
    photos = BlobUri.parse(runs.run(parent).spec.photos)
    kept = {key: runs.rig.blobs.get(BlobUri(photos.bucket, key)) for key in runs.rig.blobs.list_keys(photos)}
    for key in kept:
        runs.rig.blobs.delete(BlobUri(photos.bucket, key))
    answer = post(client, parent, "fork", steps=5)
    assert (answer.status_code, "There are no photos" in answer.json()["detail"]) == (409, True), answer.json()
    for key, data in kept.items():
        runs.rig.blobs.put(BlobUri(photos.bucket, key), data)
    assert post(client, parent, "fork", steps=5).status_code == 202
    post(client, parent, "cancel")
    with runs.rig.database.write() as connection:
        run_rows.empty_run(connection, parent)
        segment_rows.forget_checkpoints(connection, parent, [1])
    answer = post(client, parent, "fork", steps=5)
    assert (answer.status_code, "its checkpoints were deleted" in answer.json()["detail"]) == (409, True), answer.json()


@pytest.mark.parametrize("painting", [b"damaged", None])
def test_a_fork_that_fails_between_its_copies_leaves_none(
    client: TestClient, runs: RunRig, painting: bytes | None
) -> None:
    parent = train(client, runs)
    runs.train_to(parent, 20)
    place, uri = BlobUri("nst", f"tenants/{TENANT}/runs/"), BlobUri.parse(runs.run(parent).spec.painting.uri)
    runs.rig.blobs.delete(uri)
    if painting is not None:
        runs.rig.blobs.put(uri, painting)
    kept = runs.rig.blobs.list_keys(place)
    answer = post(client, parent, "fork", steps=10)
    assert (answer.status_code, "The painting of" in answer.json()["detail"]) == (409, True), answer.json()
    assert runs.rig.blobs.list_keys(place) == kept


def test_a_fork_whose_strokes_are_too_small_for_the_painting_is_refused(client: TestClient, runs: RunRig) -> None:
    painting = f"s3://nst/{runs.rig.prefix}/thin.png"
    runs.put(painting, picture(192, 64, suffix="png"))
    parent = train(client, runs, painting=painting, stroke=0.5)
    runs.train_to(parent, 20)
    post(client, parent, "pause")
    for changes, pointer in (
        ({"stroke": 0.05}, "/stroke"),
        ({"options": {"style_size_px": 40}}, "/options/style_size_px"),
    ):
        answer = post(client, parent, "fork", steps=10, **changes)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.json()
        assert "image_too_small" in answer.json()["detail"]
    assert post(client, parent, "fork", steps=10, stroke=0.1).status_code == 202


def test_a_style_is_published_when_the_client_asks(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs, publish=False)
    assert post(client, run_id, "publish").status_code == 409
    runs.finish(run_id)
    assert client.get(f"/v1/runs/{run_id}").json()["published"] is False
    assert client.get("/v1/styles/night").status_code == 404
    run = post(client, run_id, "publish").json()
    assert run["published"] is True
    assert client.get("/v1/styles/night").json()["version"] == run["version"]
    with connect(runs.rig, "stranger") as stranger:
        theirs = train(stranger, runs)
        runs.finish(theirs, style="great_wave")
        assert stranger.get("/v1/styles/night").json()["version"] != run["version"]
    assert client.get("/v1/styles/night").json()["version"] == run["version"]


def test_a_run_that_lost_its_worker_is_shown_at_its_checkpoint(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    runs.train_to(run_id, 10)
    segment = runs.next()
    runs.report(begun(segment))
    runs.rig.clock.advance(LEASE_S + 1)
    runs.tick()
    run = client.get(f"/v1/runs/{run_id}").json()
    assert (run["step"], run["error"]["code"], run["eta_s"]) == (10, "worker_lost", None)
