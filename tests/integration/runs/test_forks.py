"""Forks: runs that begin with a checkpoint of another one, and those that are refused."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nst_core.storage.blobs import BlobUri
from nst_core.training.config import DEFAULT_STYLE_WEIGHTS
from scheduler.domain.runs import place_key
from scheduler.store import runs as run_rows
from scheduler.store import segments as segment_rows
from tests.integration.conftest import TENANT
from tests.integration.runs.api_kit import picture, train
from tests.integration.runs.kit import RunRig, begun
from tests.integration.runs.test_changes import LOOK, edit_card, post
from tests.integration.test_deletion import remove


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


def test_a_run_whose_layers_never_existed_has_nothing_to_fork(client: TestClient, runs: RunRig) -> None:
    run_id = train(client, runs)
    spec = runs.run(run_id).spec
    wrong = replace(spec, config={**spec.config, "content_layer": "relu9_9"})  # as earlier schedulers accepted it
    with runs.rig.database.write() as connection:
        run_rows.update_run(connection, run_id, spec=wrong)
    answer = post(client, run_id, "fork", steps=10)
    assert (answer.status_code, answer.json()["detail"]) == (409, f"{run_id} has no checkpoint yet.")


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
