"""`nst styles` and the client's part in it, against a real HTTP server with prepared answers."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nst_core.client import ApiError, Client
from nst_core.nets.weights import load_transformer_bytes
from nst_core.peers.detect import import_network
from nst_core.styles import shipped_style
from scheduler.cli import run
from scheduler.cli.exits import ExitCode
from tests.unit.nst_core.peers.readings import lengstrom_variables, npz_file
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api, problem

Run = Callable[..., tuple[int, str, str]]
UPLOAD = "/v1/uploads/upl_1/style.safetensors"
URI = "s3://nst/tenants/default/uploads/upl_1/style.safetensors"
STYLE: dict[str, Any] = {"name": "candy", "version": "ab" * 32, "card": {"title": "Candy [1]"}}


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with canned_api() as server:
        server.on("POST", "/v1/uploads", Answer(status=201, body={"id": "upl_1", "prefix": "s3://nst/up/"}))
        server.on("PUT", UPLOAD, Answer(status=201, body={"uri": URI}))
        server.on("PUT", "/v1/styles/candy", Answer(status=201, body=STYLE))
        yield server


@pytest.fixture
def nst(api: CannedApi, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command for the prepared API; returns its exit code, standard output and standard error."""

    def nst(*arguments: str) -> tuple[int, str, str]:
        code = run(["--url", api.url, "--api-key", "nst_key", "--home", str(tmp_path / "home"), *arguments])
        sys.stdout.flush()
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return nst


def uploaded(api: CannedApi) -> bytes:
    (request,) = [request for request in api.requests if request.path == UPLOAD]
    return request.body


def asked(api: CannedApi) -> Any:
    (request,) = [request for request in api.requests if request.path == "/v1/styles/candy"]
    return json.loads(request.body)


def test_weights_of_nst_are_uploaded_byte_by_byte_without_torch(
    api: CannedApi, nst: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    weights = shipped_style("udnie").weights()
    (tmp_path / "mine.safetensors").write_bytes(weights)
    code, out, err = nst("styles", "import", str(tmp_path / "mine.safetensors"), "--name", "candy", "--title", "Candy")
    assert (code, err) == (ExitCode.OK, "")
    assert "Candy [1]" in out
    assert hashlib.sha256(uploaded(api)).digest() == hashlib.sha256(weights).digest()
    assert asked(api) == {"weights": URI, "card": {"title": "Candy"}, "replace": False}


def test_a_checkpoint_is_converted_and_its_origin_is_on_the_card(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    checkpoint = npz_file(lengstrom_variables(blocks=1))
    (tmp_path / "candy.npz").write_bytes(checkpoint)
    arguments = [
        "--name",
        "candy",
        "--artist",
        "Someone",
        "--year",
        "2016",
        "--rights",
        "Theirs",
        "--replace",
        "--json",
    ]
    code, out, err = nst("styles", "import", str(tmp_path / "candy.npz"), *arguments)
    assert (code, err) == (ExitCode.OK, "")
    assert json.loads(out) == STYLE
    loaded, expected = load_transformer_bytes(uploaded(api)), import_network(checkpoint)
    assert loaded.config == expected.config
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in loaded.state_dict().items())
    card = {"artist": "Someone", "year": "2016", "rights": "Theirs", "origin": "lengstrom/fast-style-transfer"}
    assert asked(api) == {"weights": URI, "card": card, "replace": True}


def test_a_file_that_is_no_checkpoint_is_one_sentence_and_exit_code_7(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    (tmp_path / "[candy].pth").write_text("Not Found")
    code, out, err = nst("styles", "import", str(tmp_path / "[candy].pth"), "--name", "candy")
    assert (code, out) == (ExitCode.LOCAL, "")
    assert err.startswith(f"nst: error: {tmp_path}/[candy].pth is no checkpoint: ")
    assert err.endswith(". (weights_invalid)\n")
    assert err.count("\n") == 1
    assert api.requests == []


def test_a_pipe_is_no_checkpoint(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "candy.pth")
    code, _, err = nst("styles", "import", str(tmp_path / "candy.pth"), "--name", "candy")
    assert (code, err) == (
        ExitCode.LOCAL,
        f"nst: error: {tmp_path}/candy.pth is not a regular file. (weights_invalid)\n",
    )


def test_a_machine_without_torch_says_so(nst: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "candy.pth").write_bytes(b"PK")
    code, _, err = nst("styles", "import", str(tmp_path / "candy.pth"), "--name", "candy")
    assert code == ExitCode.LOCAL
    assert "needs torch on this machine: pip install 'nst[worker]'. (conversion_failed)" in err


def test_a_conversion_that_breaks_off_is_told_with_its_code(
    nst: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A module of the same name before ours: what a broken installation does.
    (tmp_path / "torch.py").write_text(
        "import sys\nprint('a warning', file=sys.stderr)\nraise ImportError('no libgomp')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "candy.pth").write_bytes(b"PK")
    code, _, err = nst("styles", "import", str(tmp_path / "candy.pth"), "--name", "candy")
    assert code == ExitCode.LOCAL
    assert "failed with exit code 1: ImportError: no libgomp (conversion_failed)" in err


def test_a_missing_file_is_wrong_use(nst: Run, tmp_path: Path) -> None:
    code, _, err = nst("styles", "import", str(tmp_path / "none.pth"), "--name", "candy")
    assert code == ExitCode.USAGE
    assert "does not exist" in err


def test_a_name_that_is_taken_is_exit_code_6(nst: Run, tmp_path: Path) -> None:
    with canned_api() as api:
        api.on("POST", "/v1/uploads", Answer(status=201, body={"id": "upl_1", "prefix": "s3://nst/up/"}))
        api.on("PUT", UPLOAD, Answer(status=201, body={"uri": URI}))
        api.on("PUT", "/v1/styles/candy", problem(409, "style_exists", "There is a style 'candy'."))
        (tmp_path / "mine.safetensors").write_bytes(shipped_style("udnie").weights())
        arguments = ["styles", "import", str(tmp_path / "mine.safetensors"), "--name", "candy"]
        code, _, err = nst("--url", api.url, *arguments)
        assert (code, err) == (ExitCode.REFUSED, "nst: error: There is a style 'candy'. (style_exists)\n")


def exported(api: CannedApi, weights: bytes) -> dict[str, Any]:
    """Let the API have a style of some weights, whose name has gone on to others, and return it."""
    style = {**STYLE, "version": hashlib.sha256(weights).hexdigest()}
    api.on("GET", "/v1/styles/candy?version=12345678", Answer(body=style))
    api.on("GET", f"/v1/styles/candy/weights?version={style['version']}", Answer(body=weights))
    return style


def test_an_exported_style_is_a_folder_that_import_takes(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    weights = shipped_style("udnie").weights()
    exported(api, weights)
    folder = tmp_path / "new" / "candy"
    code, out, _ = nst("styles", "export", "candy@12345678", "-o", str(folder))
    assert (code, out) == (ExitCode.OK, "")
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "style.safetensors"]
    assert (folder / "style.safetensors").read_bytes() == weights
    assert json.loads((folder / "card.json").read_text()) == STYLE["card"]
    code, *_ = nst("styles", "import", str(folder), "--name", "candy", "--year", "2016")
    assert code == ExitCode.OK
    assert uploaded(api) == weights
    assert asked(api) == {"weights": URI, "card": {"title": "Candy [1]", "year": "2016"}, "replace": False}


def test_a_style_of_a_run_is_exported_with_its_pictures(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    run = "run_01a200f49ffc70780bfa5c52"
    style = {**exported(api, b"weights"), "card": {"title": "Candy", "run": run}}
    api.on("GET", "/v1/styles/candy", Answer(body=style))
    api.on("GET", f"/v1/runs/{run}/sheet.jpg", Answer(body=b"a sheet"))
    api.on("GET", f"/v1/runs/{run}/losses.png", Answer(body=b"a curve"))
    assert nst("styles", "export", "candy", "-o", str(tmp_path / "whole"))[0] == ExitCode.OK
    files = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert files.pop("card.json").endswith(b"}\n")
    assert files == {"style.safetensors": b"weights", "sheet.jpg": b"a sheet", "losses.png": b"a curve"}


def test_a_style_of_a_run_elsewhere_is_exported_without_pictures(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    style = {**exported(api, b"weights"), "card": {"run": "run_1"}}
    api.on("GET", "/v1/styles/candy", Answer(body=style))
    unknown, denied = problem(404, "not_found", "There is no run 'run_1'."), problem(403, "forbidden", "No.")
    api.on("GET", "/v1/runs/run_1/sheet.jpg", unknown, denied)
    assert nst("styles", "export", "candy", "-o", str(tmp_path / "some"))[0] == ExitCode.OK
    assert sorted(path.name for path in (tmp_path / "some").iterdir()) == ["card.json", "style.safetensors"]
    code, _, err = nst("styles", "export", "candy", "-o", str(tmp_path / "none"))
    assert (code, err) == (ExitCode.REFUSED, "nst: error: No. (forbidden)\n")
    assert not (tmp_path / "none").exists()


def test_weights_that_are_not_those_of_the_version_are_not_written(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    style = exported(api, b"these")
    api.on("GET", "/v1/styles/candy", Answer(body={**style, "version": "ab" * 32}))
    api.on("GET", f"/v1/styles/candy/weights?version={'ab' * 32}", Answer(body=b"those"))
    code, _, err = nst("styles", "export", "candy", "-o", str(tmp_path / "out"))
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
        ({"style.safetensors": b"x", "card.json": b"[]"}, "card.json is not the card of a style"),
    ],
)
def test_a_folder_that_export_did_not_write_is_one_sentence(
    api: CannedApi, nst: Run, tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    code, _, err = nst("styles", "import", str(tmp_path), "--name", "candy")
    assert code == ExitCode.LOCAL
    assert message in err
    assert err.count("\n") == 1
    assert api.requests == []


def test_versions_are_listed_with_what_the_name_stands_for_now(api: CannedApi, nst: Run) -> None:
    made = {"published": True, "run": None, "created_at": "2026-11-22T01:00:00Z"}
    old = {**STYLE, **made, "version": "cd" * 32, "current": False}
    new = {**STYLE, **made, "run": "run_01a200f49ffc70780bfa5c52", "current": True}
    api.on("GET", "/v1/styles/candy/versions?limit=200", Answer(body={"data": [new, old]}))
    code, out, _ = nst("styles", "versions", "candy")
    assert code == ExitCode.OK
    assert ["current" in line for line in out.splitlines() if "ab" * 6 in line or "cd" * 6 in line] == [True, False]
    assert json.loads(nst("styles", "versions", "candy", "--json")[1]) == [new, old]


def test_a_version_is_shown_beside_another(api: CannedApi, nst: Run) -> None:
    other = {**STYLE, "version": "cd" * 32, "card": {"title": "Candy [2]"}}
    api.on("GET", "/v1/styles/candy", Answer(body=STYLE))
    api.on("GET", "/v1/styles/candy?version=cdcdcdcd", Answer(body=other))
    assert "Candy [2]" in nst("styles", "show", "candy@cdcdcdcd")[1]
    code, out, _ = nst("styles", "diff", "candy", "candy@cdcdcdcd")
    assert code == ExitCode.OK
    assert [line.split() for line in out.splitlines() if "title" in line] == [["title", "Candy", "[1]", "Candy", "[2]"]]


def test_a_name_is_given_to_a_version_and_taken_away(api: CannedApi, nst: Run) -> None:
    api.on("POST", "/v1/styles/candy/publish", Answer(body=STYLE))
    api.on("DELETE", "/v1/styles/candy", Answer(status=204, body=b""))
    code, out, _ = nst("styles", "publish", "candy@abababab")
    assert code == ExitCode.OK
    assert STYLE["version"] in out
    assert json.loads(api.requests[-1].body) == {"version": "abababab"}
    assert nst("styles", "delete", "candy") == (ExitCode.OK, "", "")
    assert api.requests[-1].method == "DELETE"


def test_publish_asks_for_a_version(api: CannedApi, nst: Run) -> None:
    code, _, err = nst("styles", "publish", "candy")
    assert code == ExitCode.USAGE
    assert "nst styles versions candy" in err
    assert api.requests == []


def test_presets_of_trainings_are_a_table_or_json(api: CannedApi, nst: Run) -> None:
    preset = {"name": "quick", "summary": "A usable style.", "config": {"steps": 500}}
    api.on("GET", "/v1/training-presets", Answer(body={"data": [preset]}))
    assert "A usable style." in nst("styles", "presets")[1]
    assert json.loads(nst("styles", "presets", "--json")[1]) == [preset]


@pytest.mark.parametrize("as_path", [True, False])
def test_the_client_takes_a_file_or_its_bytes(api: CannedApi, tmp_path: Path, as_path: bool) -> None:
    (tmp_path / "w").write_bytes(b"weights")
    with Client(api.url, "nst_key") as client:
        style = client.import_style("candy", tmp_path / "w" if as_path else b"weights", {"year": 1913})
    assert style.version == STYLE["version"]
    assert uploaded(api) == b"weights"
    assert asked(api) == {"weights": URI, "card": {"year": 1913}, "replace": False}


def test_the_client_quotes_the_name(api: CannedApi) -> None:
    with Client(api.url, "nst_key") as client, pytest.raises(ApiError, match=r"PUT /v1/styles/a%2Fb"):
        client.import_style("a/b", b"weights", {})
