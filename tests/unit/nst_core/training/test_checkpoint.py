"""Checkpoint files: written completely or not at all, and one clear error for invalid files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from nst_core.errors import WeightsError
from nst_core.training.checkpoint import (
    TRAINING_KEY,
    Checkpoint,
    dump_checkpoint,
    parse_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from tests.unit.nst_core.training.kit import TINY

pytestmark = pytest.mark.usefixtures("one_thread")

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7), "c": torch.rand(2, 3, 4, 5).permute(0, 2, 3, 1)}
CHECKPOINT = Checkpoint(
    step=12, config=TINY, origin={"style_sha256": "ab", "photos": {"count": 3}}, extensions=((5, 10),), tensors=TENSORS
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(CHECKPOINT, path)
    return path


def test_a_checkpoint_survives_a_round_trip(path: Path) -> None:
    found = read_checkpoint(path)
    assert (found.step, found.config, found.origin, found.extensions) == (12, TINY, CHECKPOINT.origin, ((5, 10),))
    assert found.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_equal_checkpoints_are_equal_files(path: Path) -> None:
    before = path.read_bytes()
    write_checkpoint(read_checkpoint(path), path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_an_error(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(WeightsError, match="damaged"):
        read_checkpoint(path)


def test_a_damaged_header_is_an_error(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(0, 400, 7):
        wrong = data.copy()
        wrong[place] ^= 0x15
        path.write_bytes(wrong)
        try:
            found = read_checkpoint(path)
        except WeightsError:
            continue
        assert isinstance(found, Checkpoint)  # if only a name or a number has changed


@pytest.mark.parametrize("data", [b"This is no picture.\n" * 20, b"\xff" * 100, b"\x80\x04K\x01."])
def test_a_foreign_file_is_an_error(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="damaged"):
        read_checkpoint(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        read_checkpoint(tmp_path / "checkpoint.safetensors")
    with pytest.raises(WeightsError, match="directory"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("metadata", [None, {"nst_transformer": "{}"}])
def test_weights_of_a_style_are_not_a_checkpoint(path: Path, metadata: dict[str, str] | None) -> None:
    path.write_bytes(save({"a": torch.zeros(1)}, metadata))
    with pytest.raises(WeightsError, match="not a checkpoint"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "about",
    [
        "no json",
        "[" * 50_000,
        '{"step": 1e400, "config": {}, "origin": {}, "extensions": []}',
        "[]",
        "null",
        {},
        {"step": 1, "config": {"colour": 1}, "origin": {}, "extensions": []},
        {"step": 1, "config": {"steps": -1}, "origin": {}, "extensions": []},
        {"step": 1, "config": [], "origin": {}, "extensions": []},
        {"step": "one", "config": {}, "origin": {}, "extensions": []},
        {"step": 1, "config": {}, "origin": {}, "extensions": [1]},
    ],
)
def test_metadata_that_is_not_a_training_is_an_error(path: Path, about: Any) -> None:
    text = about if isinstance(about, str) else json.dumps(about)
    path.write_bytes(save({"a": torch.zeros(1)}, {TRAINING_KEY: text}))
    with pytest.raises(WeightsError, match="cannot be understood"):
        read_checkpoint(path)


def test_a_full_disk_keeps_the_last_checkpoint(path: Path) -> None:
    part = path.with_name(path.name + ".part")
    part.symlink_to("/dev/full")  # accepts no bytes
    with pytest.raises(WeightsError, match=r"No space left on device\. The previous one is kept"):
        write_checkpoint(replace(CHECKPOINT, step=13), path)
    assert read_checkpoint(path).step == 12
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be written"):
        write_checkpoint(CHECKPOINT, tmp_path / "gone" / "checkpoint.safetensors")


def test_a_checkpoint_is_the_same_as_bytes_and_as_a_file(path: Path) -> None:
    data = dump_checkpoint(CHECKPOINT)
    assert data == path.read_bytes()
    assert dump_checkpoint(parse_checkpoint(data)) == data


def test_errors_begin_with_the_name_that_bytes_were_given() -> None:
    with pytest.raises(WeightsError, match=r"^s3://bucket/checkpoint is damaged: "):
        parse_checkpoint(b"nothing", name="s3://bucket/checkpoint")
    with pytest.raises(WeightsError, match=r"^The checkpoint is not a checkpoint of a training"):
        parse_checkpoint(save({"a": torch.zeros(1)}))
