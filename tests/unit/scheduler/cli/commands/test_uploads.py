"""`nst uploads`, against prepared answers."""

import io
import json

import pytest

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, problem
from tests.unit.scheduler.cli.conftest import Run

FIRST, SECOND = f"upl_{'1' * 24}", f"upl_{'2' * 24}"


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())


GONE = Answer(status=204, body=b"")


def deleted(api: CannedApi) -> list[str]:
    """Return what the API was asked to delete."""
    return [request.path for request in api.requests if request.method == "DELETE"]


def test_uploads_are_a_table_or_json(api: CannedApi, here: Run) -> None:
    moment = "2026-11-22T12:00:00Z"
    upload = {"id": FIRST, "prefix": "s3://nst/a[b]/", "created_at": moment, "used_at": moment}
    api.on("GET", "/v1/uploads?limit=20", Answer(body={"data": [upload], "has_more": False}))
    code, out, _ = here("uploads", "list")
    assert (code, FIRST in out, "s3://nst/a[b]/" in out) == (ExitCode.OK, True, True)
    assert json.loads(here("uploads", "list", "--json")[1]) == [upload]


def test_an_upload_in_use_does_not_keep_the_others(api: CannedApi, here: Run) -> None:
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


def test_a_key_without_permission_is_reported_once(api: CannedApi, here: Run) -> None:
    api.on("DELETE", f"/v1/uploads/{FIRST}", problem(403, "forbidden", "The key may not do that."))
    code, _, err = here("uploads", "delete", FIRST, SECOND)
    assert (code, err) == (ExitCode.REFUSED, "nst: error: The key may not do that. (forbidden)\n")
    assert deleted(api) == [f"/v1/uploads/{FIRST}"]
