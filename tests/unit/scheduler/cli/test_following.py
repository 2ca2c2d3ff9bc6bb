"""Following a job until it ends."""

import json
import os
import signal
from pathlib import Path

import pytest

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, item_json, job_json, problem
from tests.unit.scheduler.cli.conftest import Run

DEAD = problem(503, "database_unavailable", "The database does not answer.")


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("succeeded", ExitCode.OK),
        ("partially_succeeded", ExitCode.PARTIAL),
        ("failed", ExitCode.FAILED),
        ("cancelled", ExitCode.CANCELLED),
        ("expired", ExitCode.CANCELLED),
    ],
)
def test_the_exit_code_tells_how_the_job_ended(api: CannedApi, here: Run, status: str, code: ExitCode) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("running")), Answer(body=job_json(status, succeeded=2)))
    assert here("jobs", "watch", "job_1")[0] == code


def test_watching_a_paused_job_says_how_it_continues(api: CannedApi, here: Run) -> None:
    states = ("running", "paused", "paused", "running", "paused", "succeeded")
    api.on("GET", "/v1/jobs/job_1", *(Answer(body=job_json(status)) for status in ("running", *states)))
    code, _, err = here("jobs", "watch", "job_1")
    assert code == ExitCode.OK
    assert err.count(f"The job is paused. Continue it with nst --url {api.url} jobs resume job_1\n") == 2


def test_watch_with_json_prints_only_the_job_on_standard_output(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", succeeded=4)))
    _, out, err = here("jobs", "watch", "job_1", "--json")
    assert json.loads(out)["counts"]["succeeded"] == 4
    assert "job_1 succeeded: 4 of 4" in err


def test_ctrl_c_does_not_stop_the_job_and_prints_how_to_go_on(api: CannedApi, here: Run) -> None:
    interrupt = Answer(body=job_json("running"), first=lambda: os.kill(os.getpid(), signal.SIGINT))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("running")), interrupt, Answer(body=job_json("running")))
    code, out, err = here("jobs", "watch", "job_1")
    assert (code, out) == (ExitCode.INTERRUPTED, "")
    assert f"The job continues. Watch it with nst --url {api.url} jobs watch job_1\n" in err
    assert "or cancel it with" in err
    assert {request.method for request in api.requests} == {"GET"}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("dead", [DEAD, Answer(status=502, body=b"<html>"), Answer(hang_up=True)])
def test_an_outage_during_the_watching_says_how_to_go_on(api: CannedApi, here: Run, dead: Answer) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("running")), dead)
    code, out, err = here("jobs", "watch", "job_1")
    assert (code, out) == (ExitCode.UNREACHABLE, "")
    assert f"When the API answers again, watch it with nst --url {api.url} jobs watch job_1\n" in err


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("dead", "code"), [(DEAD, ExitCode.UNREACHABLE), (problem(500, "internal", "It failed."), ExitCode.REFUSED)]
)
def test_an_error_while_results_are_fetched_says_how_to_go_on(
    api: CannedApi, here: Run, tmp_path: Path, dead: Answer, code: ExitCode
) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", total=2, succeeded=2)))
    items = {"data": [item_json(0), item_json(1)]}
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=succeeded", Answer(body=items))
    api.on("GET", "/v1/jobs/job_1/items/0/output", Answer(body=b"picture"))
    api.on("GET", "/v1/jobs/job_1/items/1/output", dead)
    got, out, err = here("jobs", "results", "job_1", "-o", str(tmp_path / "out"))
    assert (got, out) == (code, "")
    assert "of 2 images are written.\n" in err
    assert f"Fetch the rest with nst --url {api.url} jobs results job_1 -o {tmp_path}/out\n" in err
