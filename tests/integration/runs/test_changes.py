"""Changes that clients make to runs: pause, resume, cancel, extend and publish."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from nst_core.protocol.segments import Phase
from nst_core.storage.blobs import BlobUri
from scheduler.domain.runs import place_key
from scheduler.store.tenants import Tenant
from tests.integration.conftest import LEASE_S, TENANT
from tests.integration.runs.api_kit import connect, picture, train
from tests.integration.runs.kit import RunRig, begun, broken, finished


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
