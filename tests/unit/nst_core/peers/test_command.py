"""`python -m nst_core.peers` converts a checkpoint into a weights file."""

import json
from pathlib import Path

import pytest
import torch

from nst_core.nets.weights import load_transformer
from nst_core.peers.__main__ import main
from nst_core.peers.detect import identify
from tests.unit.nst_core.peers.readings import lengstrom_variables, npz_file, pytorch_examples_state, torch_file

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("data", "origin"),
    [
        (torch_file(pytorch_examples_state()), "pytorch/examples"),
        (npz_file(lengstrom_variables()), "lengstrom/fast-style-transfer"),
    ],
)
def test_a_checkpoint_becomes_a_weights_file_bit_for_bit(
    data: bytes, origin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoint").write_bytes(data)
    assert main([str(tmp_path / "checkpoint"), "-o", str(tmp_path / "style.safetensors")]) == 0
    expected, loaded = identify(data).net, load_transformer(tmp_path / "style.safetensors")
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, expected.state_dict()[key])
    told = json.loads(capsys.readouterr().out)
    assert told["origin"] == origin
    assert told["parameters"] == sum(parameter.numel() for parameter in loaded.parameters())
    assert told["config"] == loaded.config.to_dict()


def test_an_invalid_file_prints_one_line_and_exits_with_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "candy.pth").write_text("Not Found")
    assert main([str(tmp_path / "candy.pth"), "-o", str(tmp_path / "out"), "--name", "candy"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("candy is no checkpoint: ")
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_error_names_a_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.npz"), "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"{tmp_path / 'none.npz'} cannot be read: No such file or directory.\n"


def test_the_error_names_an_unwritable_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wave.npz").write_bytes(npz_file(lengstrom_variables()))
    assert main([str(tmp_path / "wave.npz"), "-o", str(tmp_path / "none" / "out")]) == 1
    assert capsys.readouterr().err == f"{tmp_path / 'none' / 'out'} cannot be written: No such file or directory.\n"
    assert main([str(tmp_path / "wave.npz"), "-o", "."]) == 1
    assert capsys.readouterr().err == ". cannot be written: Is a directory.\n"
