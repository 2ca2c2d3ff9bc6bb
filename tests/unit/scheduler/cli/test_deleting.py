"""The commands that delete, against a real HTTP server with prepared answers."""

import io
import json

import pytest

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, job_json, problem
from tests.unit.scheduler.canned_runs import RUN_ID, run_json
from tests.unit.scheduler.conftest import Run

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


def test_a_job_is_deleted_and_its_images_stay(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", succeeded=4)))
    api.on("DELETE", "/v1/jobs/job_1?results=false", GONE)
    code, out, err = here("jobs", "delete", "job_1")
    assert (code, out, err) == (ExitCode.OK, "", "Deleted job_1; kept its 4 images in s3://nst/out/.\n")
    assert json.loads(here("jobs", "delete", "job_1", "--json")[1]) == {
        "id": "job_1",
        "deleted": True,
        "results": False,
    }


def test_a_job_is_deleted_with_its_images_by_an_id_of_ones_own(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/jobs/spring", Answer(body=job_json("succeeded", succeeded=1, client_id="spring")))
    api.on("DELETE", "/v1/jobs/job_1?results=true", GONE)
    code, _, err = here("jobs", "delete", "spring", "--results")
    assert (code, err) == (ExitCode.OK, "Deleted job_1; its 1 image and reports are removed within minutes.\n")
    assert deleted(api) == ["/v1/jobs/job_1?results=true"]


def test_a_job_that_has_not_ended_is_refused_by_the_api(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("running")))
    api.on("DELETE", "/v1/jobs/job_1?results=false", problem(409, "unfinished", "Job job_1 is running."))
    code, out, err = here("jobs", "delete", "job_1", "--json")
    assert (code, out, err) == (ExitCode.REFUSED, "", "nst: error: Job job_1 is running. (unfinished)\n")


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


def test_uploads_are_a_table_or_json(api: CannedApi, here: Run) -> None:
    upload = {"id": FIRST, "prefix": "s3://nst/a[b]/", "created_at": "2026-11-22T12:00:00Z", "used_at": None}
    api.on("GET", "/v1/uploads?limit=20", Answer(body={"data": [upload], "has_more": False}))
    code, out, _ = here("uploads", "list")
    assert (code, FIRST in out, "s3://nst/a[b]/" in out) == (ExitCode.OK, True, True)
    assert json.loads(here("uploads", "list", "--json")[1]) == [upload]


def test_an_upload_that_is_in_use_keeps_no_other(api: CannedApi, here: Run) -> None:
    api.on("DELETE", f"/v1/uploads/{FIRST}", problem(409, "in_use", "It is in use."))
    api.on("DELETE", f"/v1/uploads/{SECOND}", GONE)
    code, out, err = here("uploads", "delete", FIRST, SECOND, FIRST, "--json")
    assert (code, deleted(api)) == (ExitCode.REFUSED, [f"/v1/uploads/{FIRST}", f"/v1/uploads/{SECOND}"])
    assert err == (
        f"nst: error: {FIRST}: It is in use. (in_use)\nDeleted {SECOND}; its files are removed within minutes.\n"
    )
    assert json.loads(out) == [
        {"id": FIRST, "deleted": False, "code": "in_use", "message": "It is in use."},
        {"id": SECOND, "deleted": True},
    ]


def test_a_key_that_may_not_delete_is_said_once(api: CannedApi, here: Run) -> None:
    api.on("DELETE", f"/v1/uploads/{FIRST}", problem(403, "forbidden", "The key may not do that."))
    code, _, err = here("uploads", "delete", FIRST, SECOND)
    assert (code, err) == (ExitCode.REFUSED, "nst: error: The key may not do that. (forbidden)\n")
    assert deleted(api) == [f"/v1/uploads/{FIRST}"]
