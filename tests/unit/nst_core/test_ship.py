"""Tests of nst_core.ship and nst_core.styles: what a style folder says of itself."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from nst_core.errors import ConfigError, ImageDecodeError, StyleNotFoundError, WeightsError
from nst_core.ship import ship
from nst_core.styles import shipped_style, shipped_styles, version_of
from nst_core.training.curve import last_losses, read_losses
from nst_core.training.run import RunPlan, TrainingRun
from nst_core.weights import load_transformer, load_transformer_bytes
from tests.unit.nst_core.training.kit import TINY, MemoryPhotos, soft_photos, soft_picture

pytestmark = pytest.mark.usefixtures("one_thread")

ABOUT = {"title": "Blobs", "artist": "A generator", "year": "2026"}


def trained(folder: Path, *, steps: int = 2, extend: bool = False) -> Path:
    """Return the folder of a training, of which the pictures are beside it."""
    soft_picture(7).save(folder.parent / "painting.png")
    soft_picture(8, 600, 300).save(folder.parent / "photo.jpg")
    plan = RunPlan(
        folder=folder, config=replace(TINY, steps=steps), style=folder.parent / "painting.png", extend=extend
    )
    photos = MemoryPhotos(soft_photos().files | {"text.jpg": b"no picture"})
    run = TrainingRun(plan, photos=photos, device=torch.device("cpu"), bf16=False, compiled=False)
    try:
        run.run()
    finally:
        run.close()
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run that was trained for 4 steps and then for 2 more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("training") / "run"
    trained(folder, steps=4)
    yield trained(folder, steps=6, extend=True)
    torch.set_num_threads(before)


def test_a_card_has_all_that_the_training_knows(finished: Path, tmp_path: Path) -> None:
    ship(finished, tmp_path / "style", about=ABOUT, sample=finished.parent / "photo.jpg")
    card = json.loads((tmp_path / "style" / "card.json").read_text())
    assert card["title"] == "Blobs"
    assert card["training"] == replace(TINY, steps=6).to_dict()
    assert card["extensions"] == [{"at_step": 4, "from_steps": 4}]
    assert card["made_from"]["style_sha256"] == version_of((finished.parent / "painting.png").read_bytes())
    assert card["made_from"]["initial_sha256"] is None
    assert card["made_from"]["photos"]["count"] == 6
    assert card["made_from"]["photos_skipped"] == 1
    assert card["final_losses"] == last_losses(read_losses(finished / "losses.csv"))
    assert card["final_losses"]["mean_of_last_steps"] == 6
    weights = tmp_path / "style" / "style.safetensors"
    assert card["parameters"] == sum(p.numel() for p in load_transformer(weights).parameters())
    assert weights.read_bytes() == (finished / "style.safetensors").read_bytes()


def test_the_sample_is_a_reduced_stylization(finished: Path, tmp_path: Path) -> None:
    ship(finished, tmp_path / "style", about=ABOUT, sample=finished.parent / "photo.jpg")
    with Image.open(tmp_path / "style" / "sample.jpg") as sample:
        assert sample.size == (512, 256)


def test_a_run_that_is_not_whole_is_not_shipped(finished: Path, tmp_path: Path) -> None:
    sample = finished.parent / "photo.jpg"
    copy = tmp_path / "run"
    copy.mkdir()
    with pytest.raises(WeightsError, match="cannot be read"):
        ship(copy, tmp_path / "style", about=ABOUT, sample=sample)
    for name, error in (("checkpoint", ConfigError), ("losses", ConfigError)):
        for path in finished.iterdir():
            if path.is_file():
                (copy / path.name).write_bytes(path.read_bytes())
        (copy / ("style.safetensors" if name == "checkpoint" else "losses.csv")).unlink()
        with pytest.raises(error):
            ship(copy, tmp_path / "style", about=ABOUT, sample=sample)
    assert not (tmp_path / "style").exists()


def test_a_sample_that_is_no_picture_is_refused(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ImageDecodeError, match=r"text\.jpg"):
        ship(finished, tmp_path / "style", about=ABOUT, sample=tmp_path / "text.jpg")
    assert not (tmp_path / "style").exists()


def test_unfinished_training_is_not_shipped(tmp_path: Path) -> None:
    soft_picture(7).save(tmp_path / "painting.png")
    plan = RunPlan(folder=tmp_path / "run", config=TINY, style=tmp_path / "painting.png")
    run = TrainingRun(plan, photos=soft_photos(), device=torch.device("cpu"), bf16=False, compiled=False)
    run.run(stop=lambda: True)
    run.close()
    with pytest.raises(ConfigError, match="step 1 of 40"):
        ship(tmp_path / "run", tmp_path / "style", about=ABOUT, sample=tmp_path / "painting.png")


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
