"""Following a job until it ends."""

import json
import os
import signal

import pytest

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, job_json
from tests.unit.scheduler.cli.conftest import Run


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
