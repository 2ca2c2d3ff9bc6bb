"""Following a training until it ends."""

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api, problem
from tests.unit.scheduler.canned_runs import OTHER_ID, PRESETS, RUN_ID, going_json, run_json, sample_json
from tests.unit.scheduler.cli.conftest import Run


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with canned_api() as server:
        server.on("GET", "/v1/training-presets", Answer(body=PRESETS))
        server.on("POST", "/v1/styles", Answer(status=202, body=run_json("queued")))
        server.on("GET", "/v1/runs?limit=1&name=night", Answer(body={"data": [run_json()]}))
        server.on("GET", f"/v1/runs/{RUN_ID}/samples", Answer(body={"data": [sample_json("a", 500)]}))
        yield server


def ends(api: CannedApi, *runs: Any) -> None:
    """Answer each request for the run with the next body; the last one is repeated."""
    api.on("GET", f"/v1/runs/{RUN_ID}", *(Answer(body=body) for body in runs))


def test_train_with_watch_follows_the_training(api: CannedApi, here: Run) -> None:
    evaluation = {"photos": 16, "remarks": ["There are [dots] in dark places."]}
    done = {"step": 2000, "segments": 9, "version": "ab" * 32, "published": True, "evaluation": evaluation}
    ends(api, going_json(500, segments=4), run_json("succeeded", **done))
    code, out, err = here("styles", "train", "s3://nst/night.png", "-n", "night", "--watch")
    assert (code, out) == (ExitCode.OK, "")
    assert f"{RUN_ID} running: step 500 of 2,000, content 1.343e+05" in err
    assert f"{RUN_ID} sample at step 500: {api.url}/v1/runs/{RUN_ID}/samples/a_00000500.jpg" in err
    assert "✓ night is trained after 2,000 steps" in err
    assert "! There are [dots] in dark places.\n" in err
    assert f"preview {api.url}/v1/runs/{RUN_ID}/sheet.jpg" in err
    assert f"curve   {api.url}/v1/runs/{RUN_ID}/losses.png" in err


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("succeeded", ExitCode.OK),
        ("failed", ExitCode.FAILED),
        ("cancelled", ExitCode.CANCELLED),
        ("paused", ExitCode.CANCELLED),
    ],
)
def test_the_exit_code_tells_how_the_training_ended(api: CannedApi, here: Run, status: str, code: ExitCode) -> None:
    error = {"code": "training_diverged", "message": "The losses became infinite."} if status == "failed" else None
    ends(api, run_json(status, error=error))
    got, out, err = here("styles", "watch", "night")
    assert (got, out) == (code, "")
    assert f"{RUN_ID} {status}: step 0 of 2,000" in err
    assert ("The losses became infinite. (training_diverged)" in err) == (status == "failed")


def test_watch_takes_an_id_and_prints_json(api: CannedApi, here: Run) -> None:
    ends(api, run_json("succeeded", step=2000))
    code, out, _ = here("styles", "watch", RUN_ID, "--json")
    assert code == ExitCode.OK
    assert json.loads(out)["step"] == 2000


def test_a_name_that_was_never_trained_is_not_found(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/runs?limit=1&name=[day]", Answer(body={"data": []}))
    api.on("GET", "/v1/runs?limit=1&name=%5Bday%5D", Answer(body={"data": []}))
    code, _, err = here("styles", "watch", "[day]")
    assert (code, err) == (
        ExitCode.REFUSED,
        "nst: error: There is no training of a style '[day]'. (not_found)\n",
    )


def test_samples_that_cannot_be_listed_do_not_end_the_watching(api: CannedApi, here: Run) -> None:
    api.on("GET", f"/v1/runs/{OTHER_ID}/samples", problem(500, "internal", "The server failed; its log says why."))
    for body in (going_json(500, segments=1, id=OTHER_ID), run_json("succeeded", id=OTHER_ID, step=2000)):
        api.on("GET", f"/v1/runs/{OTHER_ID}", Answer(body=body))
    assert here("styles", "watch", OTHER_ID)[0] == ExitCode.OK


def test_ctrl_c_does_not_stop_the_training(api: CannedApi, here: Run) -> None:
    interrupt = Answer(body=run_json(), first=lambda: os.kill(os.getpid(), signal.SIGINT))
    api.on("GET", f"/v1/runs/{RUN_ID}", Answer(body=run_json()), interrupt, Answer(body=run_json()))
    code, out, err = here("styles", "watch", "night")
    assert (code, out) == (ExitCode.INTERRUPTED, "")
    assert f"The training continues. Watch it with nst --url {api.url}" in err
    assert "styles watch night\n" in err
    assert f"runs pause {RUN_ID}\n" in err
    assert f"runs cancel {RUN_ID}\n" in err
    assert not [request for request in api.requests if request.method != "GET"]
