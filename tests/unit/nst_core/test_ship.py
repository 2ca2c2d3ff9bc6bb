"""Tests of nst_core.ship and nst_core.styles: from a training's command line to a style folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_core.__main__ import main
from nst_core.errors import ConfigError, StyleNotFoundError
from nst_core.ship import LAST_STEPS, last_losses, ship
from nst_core.styles import shipped_style, shipped_styles, version_of
from nst_core.weights import load_transformer, load_transformer_bytes

ABOUT = {"title": "Noise", "artist": "A generator", "year": "2026"}


def noise(path: Path, width: int, height: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_losses(run: Path, count: int) -> None:
    run.mkdir(exist_ok=True)
    lines = [f"{step},{2 * step},{step},0.5" for step in range(1, count + 1)]
    # What a resumed training writes again replaces what it wrote before.
    (run / "losses.csv").write_text("\n".join([f"{count},9e9,9e9,9e9", *lines]) + "\n")


def test_losses_of_the_card_are_means_of_the_last_steps(tmp_path: Path) -> None:
    write_losses(tmp_path / "run", 300)
    mean = 300 - (LAST_STEPS - 1) / 2
    assert last_losses(tmp_path / "run") == {
        "content": 2 * mean,
        "style": mean,
        "tv": 0.5,
        "mean_of_last_steps": LAST_STEPS,
    }


@pytest.mark.usefixtures("one_thread")
def test_training_by_the_command_line_goes_on_and_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    run, folder = tmp_path / "run", tmp_path / "style"
    photos = noise(tmp_path / "photos" / "a.png", 70, 66).parent
    painting = noise(tmp_path / "painting.png", 80, 72)
    config = {
        "steps": 3,
        "batch_size": 1,
        "size_px": 64,
        "style_size_px": 64,
        "content_layer": "relu1_2",
        "style_weights": {"relu1_2": 5.0},
        "transformer": {"width": 4, "blocks": 1},
    }
    command = ["train", "--painting", str(painting), "--photos", str(photos), "--run", str(run), "--device", "cpu"]
    command += ["--samples", str(painting), "--sample-every", "2", "--checkpoint-every", "1"]
    main([*command, "--config", json.dumps(config)])
    first = (run / "style.safetensors").read_bytes()
    main([*command, "--config", json.dumps(config)])
    assert (run / "style.safetensors").read_bytes() == first, "a finished training is not trained further"
    assert sorted(path.name for path in run.glob("*.jpg")) == ["painting_000002.jpg", "painting_000003.jpg"]
    main(["ship", "--run", str(run), "--to", str(folder), "--about", json.dumps(ABOUT), "--sample", str(painting)])
    card = json.loads((folder / "card.json").read_text())
    assert card["title"] == "Noise"
    assert card["training"]["steps"] == 3
    assert card["training"]["style_weights"] == {"relu1_2": 5.0}
    assert card["parameters"] == sum(p.numel() for p in load_transformer(folder / "style.safetensors").parameters())
    with Image.open(folder / "sample.jpg") as sample:
        assert sample.size == (80, 72)


@pytest.mark.usefixtures("one_thread")
def test_unfinished_training_is_not_shipped(tmp_path: Path) -> None:
    import torch

    run = tmp_path / "run"
    run.mkdir()
    torch.save({"step": 5, "config": {"steps": 10}}, run / "checkpoint.pt")
    with pytest.raises(ConfigError, match="step 5 of 10"):
        ship(run, tmp_path / "style", about=ABOUT, sample=tmp_path / "photo.jpg")


def test_every_shipped_style_loads_and_says_what_it_is() -> None:
    styles = shipped_styles()
    assert [style.name for style in styles] == ["great_wave", "udnie"]
    for style in styles:
        net = load_transformer_bytes(style.weights())
        assert net.config.to_dict() == style.card["training"]["transformer"]
        assert all(style.card[key] for key in ("title", "artist", "year", "rights", "data", "final_losses"))
        assert (style.folder / "sample.jpg").exists()
        assert len(style.weights()) < 4_000_000
    assert len({version_of(style.weights()) for style in styles}) == 2


def test_unknown_style_is_not_found() -> None:
    with pytest.raises(StyleNotFoundError):
        shipped_style("mona_lisa")
