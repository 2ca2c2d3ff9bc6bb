"""The network of the detector: its levels, and its weights."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nst_core.errors import WeightsError
from nst_core.faces.network import LANDMARKS, STRIDES, load_face_net

pytestmark = pytest.mark.usefixtures("one_thread")


def test_each_level_says_something_of_each_of_its_positions() -> None:
    levels = load_face_net()(torch.zeros(2, 3, 64, 96))
    for level, stride in zip(levels, STRIDES, strict=True):
        channels = [part.shape[1] for part in level]
        assert channels == [1, 1, 4, 2 * LANDMARKS]
        assert {tuple(part.shape[2:]) for part in level} == {(64 // stride, 96 // stride)}


def test_the_network_is_frozen_and_has_all_of_its_weights() -> None:
    net = load_face_net()
    assert sum(part.numel() for part in net.parameters()) == 53_104
    assert all(part.dtype == torch.float32 and not part.requires_grad for part in net.parameters())
    assert not net.training


def test_a_damaged_file_of_weights_is_named(tmp_path: Path) -> None:
    path = tmp_path / "faces.safetensors"
    path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=re.escape(f"{path} is damaged or not a weights file")):
        load_face_net(path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "faces.safetensors"
    save_file({"stem.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"is not a network that finds faces: stem.weight has the shape \[1\]"):
        load_face_net(path)
    save_file({"other": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"is not a network that finds faces: it has no stem\.weight"):
        load_face_net(path)
