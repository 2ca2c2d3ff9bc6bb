"""`nst runs`, against a real HTTP server with prepared answers."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api, problem
from tests.unit.scheduler.canned_runs import OTHER_ID, RUN_ID, run_json, sample_json
from tests.unit.scheduler.cli.conftest import Run

GONE = Answer(status=204, body=b"")


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with canned_api() as server:
        server.on("GET", "/v1/runs?limit=1&name=night", Answer(body={"data": [run_json()]}))
        server.on("GET", f"/v1/runs/{RUN_ID}", Answer(body=run_json()))
        yield server


def sent(api: CannedApi, path: str) -> Any:
    (request,) = [request for request in api.requests if (request.method, request.path) == ("POST", path)]
    return json.loads(request.body) if request.body else None


def prepare_samples(api: CannedApi, *samples: Any) -> None:
    api.on("GET", f"/v1/runs/{RUN_ID}/samples", Answer(body={"data": list(samples)}))
    for sample in samples:
        api.on("GET", sample["href"], Answer(body=sample["href"].encode()))


def test_a_training_is_deleted_by_its_id(api: CannedApi, here: Run) -> None:
    api.on("GET", f"/v1/runs/{RUN_ID}", Answer(body=run_json("succeeded")))
    api.on("DELETE", f"/v1/runs/{RUN_ID}", GONE)
    code, out, err = here("runs", "delete", RUN_ID)
    assert (code, out) == (ExitCode.OK, "")
    assert err.startswith(f"Deleted {RUN_ID}; its checkpoints and samples ")
    assert json.loads(here("runs", "delete", RUN_ID, "--json")[1]) == {"id": RUN_ID, "deleted": True}


def test_a_training_is_never_deleted_by_the_name_of_its_style(api: CannedApi, here: Run) -> None:
    code, _, err = here("runs", "delete", "night")
    assert (code, "'night' is not the id of a training" in err, api.requests) == (ExitCode.USAGE, True, [])


def test_runs_are_a_table_or_json(api: CannedApi, here: Run) -> None:
    page = {"data": [run_json("paused", id=OTHER_ID), run_json()]}
    api.on("GET", "/v1/runs?limit=20", Answer(body=page))
    api.on("GET", "/v1/runs?limit=5&status=paused&name=night", Answer(body={"data": page["data"][:1]}))
    code, out, _ = here("runs", "list")
    assert code == ExitCode.OK
    assert [line.split()[:2] for line in out.splitlines() if "run_" in line] == [
        [OTHER_ID, "paused"],
        [RUN_ID, "running"],
    ]
    chosen = json.loads(here("runs", "list", "--json", "-n", "5", "--status", "paused", "--name", "night")[1])
    assert [each["id"] for each in chosen] == [OTHER_ID]


@pytest.mark.parametrize("text", ["night", RUN_ID])
def test_a_run_is_shown_by_its_id_or_by_the_name_of_its_style(here: Run, text: str) -> None:
    code, out, _ = here("runs", "show", text)
    assert code == ExitCode.OK
    assert RUN_ID in out
    assert "0 of 2,000" in out
    assert json.loads(here("runs", "show", text, "--json")[1])["preset"] == "standard"


@pytest.mark.parametrize("command", ["pause", "resume", "cancel", "publish"])
def test_runs_are_controlled_and_their_status_is_printed(api: CannedApi, here: Run, command: str) -> None:
    path = f"/v1/runs/{RUN_ID}/{command}"
    api.on("POST", path, Answer(status=202, body=run_json("cancelling")))
    assert here("runs", command, "night") == (ExitCode.OK, f"cancelling {RUN_ID}\n", "")
    assert sent(api, path) is None
    assert json.loads(here("runs", command, RUN_ID, "--json")[1])["status"] == "cancelling"


def test_a_refused_change_is_exit_code_6(api: CannedApi, here: Run) -> None:
    api.on("POST", f"/v1/runs/{RUN_ID}/resume", problem(409, "conflict", "The run is running."))
    assert here("runs", "resume", "night") == (ExitCode.REFUSED, "", "nst: error: The run is running. (conflict)\n")


def test_more_steps_are_added_to_those_of_the_run(api: CannedApi, here: Run) -> None:
    path = f"/v1/runs/{RUN_ID}/extend"
    api.on("POST", path, Answer(status=202, body=run_json("queued", steps=2500)))
    assert here("runs", "extend", "night", "--more-steps", "500")[:2] == (ExitCode.OK, f"queued {RUN_ID}\n")
    assert sent(api, path) == {"steps": 2500}


def test_a_fork_has_the_steps_of_its_parent_by_default(api: CannedApi, here: Run) -> None:
    api.on("POST", f"/v1/runs/{RUN_ID}/fork", Answer(status=202, body=run_json("queued", id=OTHER_ID, name="dusk")))
    code, out, err = here("runs", "fork", "night")
    assert (code, out) == (ExitCode.OK, f"queued {OTHER_ID}\n")
    assert err.endswith("styles watch dusk\n")
    assert sent(api, f"/v1/runs/{RUN_ID}/fork") == {"steps": 2000, "options": {}}


def test_a_fork_sends_the_changes(api: CannedApi, here: Run) -> None:
    path = f"/v1/runs/{RUN_ID}/fork"
    api.on("POST", path, Answer(status=202, body=run_json("queued", id=OTHER_ID)))
    options = ["--step", "1000", "--steps", "300", "--strength", "2", "--stroke", "0.5", "--name", "dusk"]
    code, out, _ = here(
        "runs", "fork", RUN_ID, *options, "--option", "tv_weight=1e-4", "--set", "seed=3", "--publish", "--json"
    )
    assert code == ExitCode.OK
    assert json.loads(out)["id"] == OTHER_ID
    assert sent(api, path) == {
        "step": 1000,
        "steps": 300,
        "strength": 2.0,
        "stroke": 0.5,
        "name": "dusk",
        "options": {"tv_weight": 1e-4, "seed": 3},
        "publish": True,
    }


def test_samples_are_written_into_a_folder(api: CannedApi, here: Run, tmp_path: Path) -> None:
    prepare_samples(api, sample_json("a", 250), sample_json("a", 500))
    code, out, err = here("runs", "samples", "night", "-o", str(tmp_path / "new" / "out"))
    assert (code, out) == (ExitCode.OK, "")
    assert err.startswith("2 samples → ")
    names = sorted(path.name for path in (tmp_path / "new" / "out").iterdir())
    assert names == ["a_00000250.jpg", "a_00000500.jpg"]
    assert (tmp_path / "new" / "out" / names[1]).read_bytes().endswith(b"a_00000500.jpg")


def test_the_preview_sheet_of_a_finished_run_is_written_with_its_samples(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    api.on("GET", f"/v1/runs/{OTHER_ID}", Answer(body=run_json("succeeded", id=OTHER_ID)))
    api.on("GET", f"/v1/runs/{OTHER_ID}/samples", Answer(body={"data": []}))
    api.on("GET", f"/v1/runs/{OTHER_ID}/sheet.jpg", Answer(body=b"sheet"))
    _, _, err = here("runs", "samples", OTHER_ID, "-o", str(tmp_path / "out"))
    assert err.startswith("0 samples and sheet.jpg → ")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {"sheet.jpg": b"sheet"}


@pytest.mark.parametrize("name", ["..", "a\\b.jpg", ""])
def test_a_sample_never_leads_outside_the_folder(api: CannedApi, here: Run, tmp_path: Path, name: str) -> None:
    prepare_samples(api, {**sample_json("a", 1), "id": name})
    code, _, err = here("runs", "samples", "night", "-o", str(tmp_path / "out"))
    assert code == ExitCode.FAILED
    assert err.endswith("is not the address of a sample. (message_invalid)\n")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("suffix", ["png", "CSV"])
def test_the_curve_is_a_picture_or_numbers(api: CannedApi, here: Run, tmp_path: Path, suffix: str) -> None:
    api.on("GET", f"/v1/runs/{RUN_ID}/losses.{suffix.lower()}", Answer(body=suffix.encode()))
    assert here("runs", "curve", "night", "-o", str(tmp_path / f"new/curve.{suffix}")) == (ExitCode.OK, "", "")
    assert (tmp_path / f"new/curve.{suffix}").read_bytes() == suffix.encode()


def test_a_curve_of_another_kind_is_refused(api: CannedApi, here: Run) -> None:
    code, _, err = here("runs", "curve", "night", "-o", "curve.gif")
    assert code == ExitCode.USAGE
    assert "curve.gif cannot be written: a curve is a .png or a .csv file." in err
    assert api.requests == []


def test_an_unknown_run_is_exit_code_6(api: CannedApi, here: Run) -> None:
    api.on("GET", f"/v1/runs/{OTHER_ID}", problem(404, "not_found", "There is no run."))
    assert here("runs", "pause", OTHER_ID) == (ExitCode.REFUSED, "", "nst: error: There is no run. (not_found)\n")
