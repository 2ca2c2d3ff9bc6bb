"""`nst styles import` and the client's part in it, against a real HTTP server with prepared answers."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nst_core.peers.detect import import_network
from nst_core.styles import shipped_style
from nst_core.weights import load_transformer_bytes
from scheduler.cli import run
from scheduler.cli.exits import ExitCode
from scheduler.client import ApiError, Client
from tests.unit.nst_core.peers.readings import lengstrom_variables, npz_file
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api, problem

Run = Callable[..., tuple[int, str, str]]
UPLOAD = "/v1/uploads/upl_1/style.safetensors"
URI = "s3://nst/tenants/default/uploads/upl_1/style.safetensors"
STYLE = {"name": "candy", "version": "ab" * 32, "card": {"title": "Candy [1]"}}


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


def test_a_machine_without_torch_says_so(nst: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "candy.pth").write_bytes(b"PK")
    code, _, err = nst("styles", "import", str(tmp_path / "candy.pth"), "--name", "candy")
    assert code == ExitCode.LOCAL
    assert "needs torch here: pip install 'nst[worker]'. (conversion_failed)" in err


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
    assert "ended with code 1: ImportError: no libgomp (conversion_failed)" in err


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
