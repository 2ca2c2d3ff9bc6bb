"""The question before something is deleted."""

import io

import pytest

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, job_json
from tests.unit.scheduler.canned_runs import RUN_ID, run_json
from tests.unit.scheduler.cli.conftest import Run

GONE = Answer(status=204, body=b"")


FIRST, SECOND = f"upl_{'1' * 24}", f"upl_{'2' * 24}"


class Terminal(io.StringIO):
    """A terminal at which somebody has typed something."""

    def isatty(self) -> bool:
        return True


def deleted(api: CannedApi) -> list[str]:
    """Return what the API was asked to delete."""
    return [request.path for request in api.requests if request.method == "DELETE"]


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())


@pytest.mark.parametrize(
    ("typed", "options", "code", "asks", "number"),
    [
        ("y\n", (), ExitCode.OK, True, 1),
        ("n\n", (), ExitCode.INTERRUPTED, True, 0),
        ("\n", (), ExitCode.INTERRUPTED, True, 0),
        ("", (), ExitCode.INTERRUPTED, True, 0),
        ("", ("--yes",), ExitCode.OK, False, 1),
    ],
)
@pytest.mark.parametrize(
    "command", [("jobs", "delete", "job_1"), ("runs", "delete", RUN_ID), ("uploads", "delete", FIRST)]
)
def test_a_person_at_a_terminal_is_asked(
    api: CannedApi,
    here: Run,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    typed: str,
    options: tuple[str, ...],
    code: ExitCode,
    asks: bool,
    number: int,
) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", succeeded=4)))
    api.on("GET", f"/v1/runs/{RUN_ID}", Answer(body=run_json("succeeded")))
    for path in ("/v1/jobs/job_1?results=false", f"/v1/runs/{RUN_ID}", f"/v1/uploads/{FIRST}"):
        api.on("DELETE", path, GONE)
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    done, out, err = here(*command, *options)
    assert (done, out, "[y/n]" in err, len(deleted(api))) == (code, "", asks, number)
