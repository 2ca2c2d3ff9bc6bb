"""`nst styles import` and `nst styles export` of files and folders."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nst_core.styles import version_of
from scheduler.cli.exits import ExitCode
from tests.shipped import shipped_style
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api, problem, upload_json
from tests.unit.scheduler.canned_runs import run_json
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


def exported(api: CannedApi, weights: bytes) -> dict[str, Any]:
    """Prepare a style with these weights that is no longer the current version, and return it."""
    style = {**STYLE, "version": hashlib.sha256(weights).hexdigest()}
    api.on("GET", "/v1/styles/candy?version=12345678", Answer(body=style))
    api.on("GET", f"/v1/styles/candy/weights?version={style['version']}", Answer(body=weights))
    return style


def test_a_missing_file_is_a_usage_error(here: Run, tmp_path: Path) -> None:
    code, _, err = here("styles", "import", str(tmp_path / "none.pth"), "--name", "candy")
    assert code == ExitCode.USAGE
    assert "does not exist" in err


def test_a_name_that_is_taken_is_exit_code_6(here: Run, tmp_path: Path) -> None:
    with canned_api() as api:
        api.on("POST", "/v1/uploads", Answer(status=201, body=upload_json("upl_1", "s3://nst/up/")))
        api.on("PUT", UPLOAD, Answer(status=201, body={"uri": URI}))
        api.on("PUT", "/v1/styles/candy", problem(409, "style_exists", "There is a style 'candy'."))
        (tmp_path / "mine.safetensors").write_bytes(shipped_style("udnie").weights())
        arguments = ["styles", "import", str(tmp_path / "mine.safetensors"), "--name", "candy"]
        code, _, err = here("--url", api.url, *arguments)
        assert (code, err) == (ExitCode.REFUSED, "nst: error: There is a style 'candy'. (style_exists)\n")


def test_a_name_that_comes_with_nst_is_refused_before_the_upload(api: CannedApi, here: Run, tmp_path: Path) -> None:
    weights = shipped_style("udnie").weights()
    (tmp_path / "mine.safetensors").write_bytes(weights)
    api.on("GET", "/v1/styles/udnie", Answer(body=STYLE | {"name": "udnie", "version": version_of(weights)}))
    code, _, err = here("styles", "import", str(tmp_path / "mine.safetensors"), "--name", "udnie")
    assert (code, "'udnie' comes with nst" in err) == (ExitCode.REFUSED, True), err
    assert {request.method for request in api.requests} == {"GET"}


def test_an_exported_style_is_a_folder_that_import_takes(api: CannedApi, here: Run, tmp_path: Path) -> None:
    weights = shipped_style("udnie").weights()
    exported(api, weights)
    folder = tmp_path / "new" / "candy"
    code, out, _ = here("styles", "export", "candy@12345678", "-o", str(folder))
    assert (code, out) == (ExitCode.OK, "")
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "style.safetensors"]
    assert (folder / "style.safetensors").read_bytes() == weights
    assert json.loads((folder / "card.json").read_text()) == STYLE["card"]
    code, *_ = here("styles", "import", str(folder), "--name", "candy", "--year", "2016")
    assert code == ExitCode.OK
    assert uploaded(api) == weights
    assert asked(api) == {"weights": URI, "card": {"title": "Candy [1]", "year": "2016"}, "index": 0, "replace": False}


def test_a_style_of_several_keeps_its_index_in_a_folder(api: CannedApi, here: Run, tmp_path: Path) -> None:
    weights = shipped_style("udnie").weights()
    style = {**STYLE, "version": version_of(weights, 2), "index": 2}
    api.on("GET", "/v1/styles/candy", Answer(body=style))
    api.on("GET", f"/v1/styles/candy/weights?version={style['version']}", Answer(body=weights))
    assert here("styles", "export", "candy", "-o", str(tmp_path / "third"))[0] == ExitCode.OK
    api.requests.clear()
    assert here("styles", "import", str(tmp_path / "third"), "--name", "candy")[0] == ExitCode.OK
    assert asked(api) == {"weights": URI, "card": STYLE["card"], "index": 2, "replace": False}
    api.requests.clear()
    assert here("styles", "import", str(tmp_path / "third"), "--name", "candy", "--index", "1")[0] == ExitCode.OK
    assert asked(api)["index"] == 1


def test_a_style_of_a_run_is_exported_with_its_pictures(api: CannedApi, here: Run, tmp_path: Path) -> None:
    run = "run_01a200f49ffc70780bfa5c52"
    style = {**exported(api, b"weights"), "card": {"title": "Candy", "run": run}}
    api.on("GET", "/v1/styles/candy", Answer(body=style))
    made, extended = (Answer(body=run_json("succeeded", version=each)) for each in (style["version"], "cd" * 32))
    api.on("GET", f"/v1/runs/{run}", made, extended)
    api.on("GET", f"/v1/runs/{run}/sheet.jpg", Answer(body=b"a sheet"))
    api.on("GET", f"/v1/runs/{run}/losses.png", Answer(body=b"a curve"))
    assert here("styles", "export", "candy", "-o", str(tmp_path / "whole"))[0] == ExitCode.OK
    files = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert files.pop("card.json").endswith(b"}\n")
    assert files == {"style.safetensors": b"weights", "sheet.jpg": b"a sheet", "losses.png": b"a curve"}
    assert here("styles", "export", "candy", "-o", str(tmp_path / "early"))[0] == ExitCode.OK
    assert sorted(path.name for path in (tmp_path / "early").iterdir()) == ["card.json", "style.safetensors"]


def test_a_style_of_a_run_elsewhere_is_exported_without_pictures(api: CannedApi, here: Run, tmp_path: Path) -> None:
    style = {**exported(api, b"weights"), "card": {"run": "run_1"}}
    api.on("GET", "/v1/styles/candy", Answer(body=style))
    unknown, denied = problem(404, "not_found", "There is no run 'run_1'."), problem(403, "forbidden", "No.")
    api.on("GET", "/v1/runs/run_1", unknown, denied)
    assert here("styles", "export", "candy", "-o", str(tmp_path / "some"))[0] == ExitCode.OK
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == ["card.json", "style.safetensors"]
    code, _, err = here("styles", "export", "candy", "-o", str(tmp_path / "none"))
    assert (code, err) == (ExitCode.REFUSED, "nst: error: No. (forbidden)\n")
    assert not (tmp_path / "none").exists()


def test_weights_of_another_version_are_not_written(api: CannedApi, here: Run, tmp_path: Path) -> None:
    style = exported(api, b"these")
    api.on("GET", "/v1/styles/candy", Answer(body={**style, "version": "ab" * 32}))
    api.on("GET", f"/v1/styles/candy/weights?version={'ab' * 32}", Answer(body=b"those"))
    code, _, err = here("styles", "export", "candy", "-o", str(tmp_path / "out"))
    assert code == ExitCode.FAILED
    assert err.endswith("(message_invalid)\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "There is no style.safetensors in"),
        ({"checkpoint": b"x", "fns.ckpt.data-00000-of-00001": b"y"}, "numpy.savez('style.npz'"),
        ({"style.safetensors": b"x", "card.json": b"{"}, "card.json is not JSON"),
        ({"style.safetensors": b"x", "card.json": b"\xff"}, "card.json is not JSON"),
        ({"style.safetensors": b"x", "card.json": b"[" * 50_000}, "card.json is not JSON"),
        ({"style.safetensors": b"x", "card.json": b"[]"}, "card.json is not the card of a style"),
        ({"style.safetensors": b"x", "card.json": b'{"style_index": "1"}'}, "style_index must be a whole number"),
    ],
)
def test_a_folder_that_was_not_exported_is_one_sentence(
    api: CannedApi, here: Run, tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    code, _, err = here("styles", "import", str(tmp_path), "--name", "candy")
    assert code == ExitCode.LOCAL
    assert message in err
    assert err.count("\n") == 1
    assert api.requests == []
