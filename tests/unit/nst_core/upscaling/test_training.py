"""Tests of nst_core.upscaling.training."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from nst_core.__main__ import main
from nst_core.errors import ConfigError
from nst_core.upscaling.network import load_upscale_net
from nst_core.upscaling.training import UpscaleConfig, UpscaleLosses, train_upscaler
from nst_core.upscaling.upscaler import Pixels
from tests.unit.nst_core.training.kit import soft_picture

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = UpscaleConfig(factor=2, steps=60, feature_steps=4, crop_px=24, batch_size=2, learning_rate=1e-3)


def pictures() -> list[Pixels]:
    """Return pictures of sharp shapes, which a bicubic enlargement blurs."""
    return [np.asarray(soft_picture(number, 96, 80)) // 64 * 64 for number in range(3)]


def test_a_training_comes_nearer_and_is_the_same_again() -> None:
    losses: list[UpscaleLosses] = []
    first = train_upscaler(pictures(), SHORT, on_step=losses.append)
    assert np.mean([each.pixels for each in losses[-5:]]) < 0.97 * np.mean([each.pixels for each in losses[:5]])
    assert [each.features > 0 for each in losses] == [False] * 56 + [True] * 4
    again = train_upscaler(pictures(), SHORT)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_a_network_learns_further() -> None:
    first = train_upscaler(pictures(), SHORT)
    before = first.last.weight.clone()
    further = train_upscaler(pictures(), SHORT, net=first)
    assert not torch.equal(further.last.weight, before)


def test_a_training_can_be_stopped_after_any_step() -> None:
    losses: list[UpscaleLosses] = []
    train_upscaler(pictures(), SHORT, on_step=losses.append, stop=lambda: len(losses) == 3)
    assert [each.step for each in losses] == [1, 2, 3]


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(ConfigError, match="crop_px must be a multiple of 4"):
        train_upscaler(pictures(), UpscaleConfig(factor=4, crop_px=30))
    with pytest.raises(ConfigError, match="No picture has at least 164 pixels on each side"):
        train_upscaler(pictures(), UpscaleConfig(factor=2))


def test_a_folder_of_pictures_becomes_a_weights_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soft_picture(1, 230, 210).save(tmp_path / "a.png")
    command = ["upscaler", "--pictures", str(tmp_path), "--factor", "4", "--steps", "100", "--feature-steps", "1"]
    output = tmp_path / "x4.safetensors"
    assert main([*command, "--output", str(output)]) == 0
    assert capsys.readouterr().out.startswith("step 100  pixels 0.")
    assert load_upscale_net(4, output).last.weight.abs().max() > 0


def test_an_interrupt_keeps_what_was_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    soft_picture(1, 230, 210).save(tmp_path / "a.png")
    monkeypatch.setattr("nst_core.__main__.print_upscaling", lambda losses: signal.raise_signal(signal.SIGINT))
    output = tmp_path / "x4.safetensors"
    assert main(["upscaler", "--pictures", str(tmp_path), "--factor", "4", "-o", str(output)]) == 130
    assert capsys.readouterr().err == "stopping after this step\n"
    assert load_upscale_net(4, output).last.weight.abs().max() > 0
