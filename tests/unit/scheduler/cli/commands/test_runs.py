"""`nst runs`, against a real HTTP server with prepared answers."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli import run
from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api, problem
from tests.unit.scheduler.canned_runs import OTHER_ID, RUN_ID, run_json, sample_json

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with canned_api() as server:
        server.on("GET", "/v1/runs?limit=1&name=night", Answer(body={"data": [run_json()]}))
        server.on("GET", f"/v1/runs/{RUN_ID}", Answer(body=run_json()))
        yield server


@pytest.fixture
def nst(api: CannedApi, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `nst runs` for the prepared API; returns its exit code, standard output and standard error."""

    def nst(*arguments: str) -> tuple[int, str, str]:
        code = run(["--url", api.url, "--api-key", "nst_key", "--home", str(tmp_path / "home"), "runs", *arguments])
        sys.stdout.flush()
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return nst


def sent(api: CannedApi, path: str) -> Any:
    (request,) = [request for request in api.requests if (request.method, request.path) == ("POST", path)]
    return json.loads(request.body) if request.body else None


def test_runs_are_a_table_or_json(api: CannedApi, nst: Run) -> None:
    page = {"data": [run_json("paused", id=OTHER_ID), run_json()]}
    api.on("GET", "/v1/runs?limit=20", Answer(body=page))
    api.on("GET", "/v1/runs?limit=5&status=paused&name=night", Answer(body={"data": page["data"][:1]}))
    code, out, _ = nst("list")
    assert code == ExitCode.OK
    assert [line.split()[:2] for line in out.splitlines() if "run_" in line] == [
        [OTHER_ID, "paused"],
        [RUN_ID, "running"],
    ]
    chosen = json.loads(nst("list", "--json", "-n", "5", "--status", "paused", "--name", "night")[1])
    assert [each["id"] for each in chosen] == [OTHER_ID]


@pytest.mark.parametrize("text", ["night", RUN_ID])
def test_a_run_is_shown_by_its_id_or_by_the_name_of_its_style(nst: Run, text: str) -> None:
    code, out, _ = nst("show", text)
    assert code == ExitCode.OK
    assert RUN_ID in out
    assert "0 of 2,000" in out
    assert json.loads(nst("show", text, "--json")[1])["preset"] == "standard"


@pytest.mark.parametrize("command", ["pause", "resume", "cancel", "publish"])
def test_runs_are_steered_and_the_new_status_is_told(api: CannedApi, nst: Run, command: str) -> None:
    path = f"/v1/runs/{RUN_ID}/{command}"
    api.on("POST", path, Answer(status=202, body=run_json("cancelling")))
    assert nst(command, "night") == (ExitCode.OK, f"cancelling {RUN_ID}\n", "")
    assert sent(api, path) is None
    assert json.loads(nst(command, RUN_ID, "--json")[1])["status"] == "cancelling"


def test_what_a_run_cannot_do_now_is_exit_code_6(api: CannedApi, nst: Run) -> None:
    api.on("POST", f"/v1/runs/{RUN_ID}/resume", problem(409, "conflict", "The run is running."))
    assert nst("resume", "night") == (ExitCode.REFUSED, "", "nst: error: The run is running. (conflict)\n")


def test_more_steps_are_added_to_those_of_the_run(api: CannedApi, nst: Run) -> None:
    path = f"/v1/runs/{RUN_ID}/extend"
    api.on("POST", path, Answer(status=202, body=run_json("queued", steps=2500)))
    assert nst("extend", "night", "--more-steps", "500")[:2] == (ExitCode.OK, f"queued {RUN_ID}\n")
    assert sent(api, path) == {"steps": 2500}


def test_a_fork_has_as_many_steps_as_its_parent_unless_it_is_told(api: CannedApi, nst: Run) -> None:
    api.on("POST", f"/v1/runs/{RUN_ID}/fork", Answer(status=202, body=run_json("queued", id=OTHER_ID, name="dusk")))
    code, out, err = nst("fork", "night")
    assert (code, out) == (ExitCode.OK, f"queued {OTHER_ID}\n")
    assert err.endswith("styles watch dusk\n")
    assert sent(api, f"/v1/runs/{RUN_ID}/fork") == {"steps": 2000, "options": {}}


def test_a_fork_takes_what_is_to_be_different(api: CannedApi, nst: Run) -> None:
    path = f"/v1/runs/{RUN_ID}/fork"
    api.on("POST", path, Answer(status=202, body=run_json("queued", id=OTHER_ID)))
    options = ["--step", "1000", "--steps", "300", "--strength", "2", "--stroke", "0.5", "--name", "dusk"]
    code, out, _ = nst("fork", RUN_ID, *options, "--option", "tv_weight=1e-4", "--set", "seed=3", "--publish", "--json")
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


def prepare_samples(api: CannedApi, *samples: Any) -> None:
    api.on("GET", f"/v1/runs/{RUN_ID}/samples", Answer(body={"data": list(samples)}))
    for sample in samples:
        api.on("GET", sample["href"], Answer(body=sample["href"].encode()))


def test_samples_are_written_into_a_folder(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    prepare_samples(api, sample_json("a", 250), sample_json("a", 500))
    code, out, err = nst("samples", "night", "-o", str(tmp_path / "new" / "out"))
    assert (code, out) == (ExitCode.OK, "")
    assert err.startswith("2 samples → ")
    names = sorted(path.name for path in (tmp_path / "new" / "out").iterdir())
    assert names == ["a_00000250.jpg", "a_00000500.jpg"]
    assert (tmp_path / "new" / "out" / names[1]).read_bytes().endswith(b"a_00000500.jpg")


def test_the_preview_sheet_of_a_finished_run_is_written_with_its_samples(
    api: CannedApi, nst: Run, tmp_path: Path
) -> None:
    api.on("GET", f"/v1/runs/{OTHER_ID}", Answer(body=run_json("succeeded", id=OTHER_ID)))
    api.on("GET", f"/v1/runs/{OTHER_ID}/samples", Answer(body={"data": []}))
    api.on("GET", f"/v1/runs/{OTHER_ID}/sheet.jpg", Answer(body=b"sheet"))
    _, _, err = nst("samples", OTHER_ID, "-o", str(tmp_path / "out"))
    assert err.startswith("0 samples and sheet.jpg → ")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {"sheet.jpg": b"sheet"}


@pytest.mark.parametrize("name", ["..", "a\\b.jpg", ""])
def test_a_sample_never_leads_outside_the_folder(api: CannedApi, nst: Run, tmp_path: Path, name: str) -> None:
    prepare_samples(api, {**sample_json("a", 1), "uri": f"s3://nst/samples/{name}"})
    code, _, err = nst("samples", "night", "-o", str(tmp_path / "out"))
    assert code == ExitCode.FAILED
    assert err.endswith("is not the address of a sample. (message_invalid)\n")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("suffix", ["png", "CSV"])
def test_the_curve_is_a_picture_or_numbers(api: CannedApi, nst: Run, tmp_path: Path, suffix: str) -> None:
    api.on("GET", f"/v1/runs/{RUN_ID}/losses.{suffix.lower()}", Answer(body=suffix.encode()))
    assert nst("curve", "night", "-o", str(tmp_path / f"new/curve.{suffix}")) == (ExitCode.OK, "", "")
    assert (tmp_path / f"new/curve.{suffix}").read_bytes() == suffix.encode()


def test_a_curve_of_another_kind_is_refused(api: CannedApi, nst: Run) -> None:
    code, _, err = nst("curve", "night", "-o", "curve.gif")
    assert code == ExitCode.USAGE
    assert "curve.gif cannot be written: a curve is a .png or a .csv file." in err
    assert api.requests == []


def test_a_run_that_is_none_is_exit_code_6(api: CannedApi, nst: Run) -> None:
    api.on("GET", f"/v1/runs/{OTHER_ID}", problem(404, "not_found", "There is no run."))
    assert nst("pause", OTHER_ID) == (ExitCode.REFUSED, "", "nst: error: There is no run. (not_found)\n")
