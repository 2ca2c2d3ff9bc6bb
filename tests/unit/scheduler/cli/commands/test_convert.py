"""`nst styles import` of checkpoints."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nst_core.extras import install_command
from nst_core.nets.weights import load_transformer_bytes
from nst_core.peers.detect import identify
from scheduler.cli.exits import ExitCode
from tests.shipped import shipped_style
from tests.unit.nst_core.peers.readings import lengstrom_variables, npz_file
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


def test_weights_of_nst_are_uploaded_unchanged_without_torch(
    api: CannedApi, here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    weights = shipped_style("udnie").weights()
    (tmp_path / "mine.safetensors").write_bytes(weights)
    code, out, err = here("styles", "import", str(tmp_path / "mine.safetensors"), "--name", "candy", "--title", "Candy")
    assert (code, err) == (ExitCode.OK, "")
    assert "Candy [1]" in out
    assert hashlib.sha256(uploaded(api)).digest() == hashlib.sha256(weights).digest()
    assert asked(api) == {"weights": URI, "card": {"title": "Candy"}, "index": 0, "replace": False}


def test_a_checkpoint_is_converted_and_its_origin_is_on_the_card(api: CannedApi, here: Run, tmp_path: Path) -> None:
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
    code, out, err = here("styles", "import", str(tmp_path / "candy.npz"), *arguments)
    assert (code, err) == (ExitCode.OK, "")
    assert json.loads(out) == STYLE
    loaded, expected = load_transformer_bytes(uploaded(api)), identify(checkpoint).net
    assert loaded.config == expected.config
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in loaded.state_dict().items())
    card = {"artist": "Someone", "year": "2016", "rights": "Theirs", "origin": "lengstrom/fast-style-transfer"}
    assert asked(api) == {"weights": URI, "card": card, "index": 0, "replace": True}


def test_a_file_that_is_not_a_checkpoint_is_exit_code_7(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "[candy].pth").write_text("Not Found")
    code, out, err = here("styles", "import", str(tmp_path / "[candy].pth"), "--name", "candy")
    assert (code, out) == (ExitCode.LOCAL, "")
    assert err.startswith(f"nst: error: {tmp_path}/[candy].pth is no checkpoint: ")
    assert err.endswith(". (weights_invalid)\n")
    assert err.count("\n") == 1
    assert api.requests == []


def test_a_pipe_is_not_a_checkpoint(api: CannedApi, here: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "candy.pth")
    code, _, err = here("styles", "import", str(tmp_path / "candy.pth"), "--name", "candy")
    assert (code, err) == (
        ExitCode.LOCAL,
        f"nst: error: {tmp_path}/candy.pth is not a regular file. (weights_invalid)\n",
    )


def test_without_torch_the_error_says_what_to_install(
    here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "candy.pth").write_bytes(b"PK")
    code, _, err = here("styles", "import", str(tmp_path / "candy.pth"), "--name", "candy")
    assert code == ExitCode.LOCAL
    assert f"needs torch on this machine; {install_command('worker')} installs it. (conversion_failed)" in err


def test_a_failed_conversion_is_reported_with_its_exit_code(
    here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A module of the same name before ours: what a broken installation does.
    (tmp_path / "torch.py").write_text(
        "import sys\nprint('a warning', file=sys.stderr)\nraise ImportError('no libgomp')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "candy.pth").write_bytes(b"PK")
    code, _, err = here("styles", "import", str(tmp_path / "candy.pth"), "--name", "candy")
    assert code == ExitCode.LOCAL
    assert "failed with exit code 1: ImportError: no libgomp (conversion_failed)" in err
