"""`nst styles`, and what the client does for it, against prepared answers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nst_core.client import ApiError, Client
from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api, upload_json
from tests.unit.scheduler.cli.conftest import Run

UPLOAD = "/v1/uploads/upl_1/style.safetensors"


URI = "s3://nst/tenants/default/uploads/upl_1/style.safetensors"


STYLE: dict[str, Any] = {"name": "candy", "version": "ab" * 32, "index": 0, "card": {"title": "Candy [1]"}}


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with canned_api() as server:
        server.on("POST", "/v1/uploads", Answer(status=201, body=upload_json("upl_1", "s3://nst/up/")))
        server.on("PUT", UPLOAD, Answer(status=201, body={"uri": URI}))
        server.on("PUT", "/v1/styles/candy", Answer(status=201, body=STYLE))
        yield server


def uploaded(api: CannedApi) -> bytes:
    (request,) = [request for request in api.requests if request.path == UPLOAD]
    return request.body


def asked(api: CannedApi) -> Any:
    (request,) = [request for request in api.requests if request.path == "/v1/styles/candy"]
    return json.loads(request.body)


def test_versions_are_listed_and_the_current_one_is_marked(api: CannedApi, here: Run) -> None:
    made = {"published": True, "run": None, "created_at": "2026-11-22T01:00:00Z"}
    old = {**STYLE, **made, "version": "cd" * 32, "current": False}
    new = {**STYLE, **made, "run": "run_01a200f49ffc70780bfa5c52", "current": True}
    api.on("GET", "/v1/styles/candy/versions?limit=200", Answer(body={"data": [new, old]}))
    code, out, _ = here("styles", "versions", "candy")
    assert code == ExitCode.OK
    assert ["current" in line for line in out.splitlines() if "ab" * 6 in line or "cd" * 6 in line] == [True, False]
    assert json.loads(here("styles", "versions", "candy", "--json")[1]) == [new, old]


def test_two_versions_are_compared(api: CannedApi, here: Run) -> None:
    other = {**STYLE, "version": "cd" * 32, "card": {"title": "Candy [2]"}}
    api.on("GET", "/v1/styles/candy", Answer(body=STYLE))
    api.on("GET", "/v1/styles/candy?version=cdcdcdcd", Answer(body=other))
    assert "Candy [2]" in here("styles", "show", "candy@cdcdcdcd")[1]
    code, out, _ = here("styles", "diff", "candy", "candy@cdcdcdcd")
    assert code == ExitCode.OK
    assert [line.split() for line in out.splitlines() if "title" in line] == [["title", "Candy", "[1]", "Candy", "[2]"]]


def test_a_version_is_published_and_the_name_is_deleted(api: CannedApi, here: Run) -> None:
    api.on("POST", "/v1/styles/candy/publish", Answer(body=STYLE))
    api.on("DELETE", "/v1/styles/candy", Answer(status=204, body=b""))
    code, out, _ = here("styles", "publish", "candy@abababab")
    assert code == ExitCode.OK
    assert STYLE["version"] in out
    assert json.loads(api.requests[-1].body) == {"version": "abababab"}
    assert here("styles", "delete", "candy") == (ExitCode.OK, "", "")
    assert api.requests[-1].method == "DELETE"


def test_publish_asks_for_a_version(api: CannedApi, here: Run) -> None:
    code, _, err = here("styles", "publish", "candy")
    assert code == ExitCode.USAGE
    assert "nst styles versions candy" in err
    assert api.requests == []


def test_presets_of_trainings_are_a_table_or_json(api: CannedApi, here: Run) -> None:
    preset = {"name": "quick", "summary": "A usable style.", "config": {"steps": 500}, "families": ["painters"]}
    api.on("GET", "/v1/training-presets", Answer(body={"data": [preset]}))
    assert "A usable style." in here("styles", "presets")[1]
    assert json.loads(here("styles", "presets", "--json")[1]) == [preset]


@pytest.mark.parametrize("as_path", [True, False])
def test_the_client_takes_a_file_or_its_bytes(api: CannedApi, tmp_path: Path, as_path: bool) -> None:
    (tmp_path / "w").write_bytes(b"weights")
    with Client(api.url, "nst_key") as client:
        style = client.import_style("candy", tmp_path / "w" if as_path else b"weights", {"year": 1913})
    assert style.version == STYLE["version"]
    assert uploaded(api) == b"weights"
    assert asked(api) == {"weights": URI, "card": {"year": 1913}, "index": 0, "replace": False}


def test_the_client_quotes_the_name(api: CannedApi) -> None:
    with Client(api.url, "nst_key") as client, pytest.raises(ApiError, match=r"PUT /v1/styles/a%2Fb"):
        client.import_style("a/b", b"weights", {})
