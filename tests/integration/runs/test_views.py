"""What clients see of runs: those of their tenant, their progress, losses and samples."""

import csv
import io

from fastapi.testclient import TestClient

from nst_core.protocol.segments import sample_uri
from nst_core.training.curve import COLUMNS, dump_losses
from nst_core.training.step_losses import StepLosses
from tests.integration.conftest import TENANT
from tests.integration.runs.api_kit import train
from tests.integration.runs.kit import RunRig, begun, broken, going


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
