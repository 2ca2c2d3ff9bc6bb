"""A training in a folder: what it writes, how it resumes, and what it refuses."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from nst_core.errors import ConfigError, ImageDecodeError, TrainingDivergedError, WeightsError
from nst_core.nets.families import one_style, with_palettes
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.transformer_config import PALETTE_NUMBERS
from nst_core.nets.weights import load_transformer, load_transformer_bytes, save_transformer
from nst_core.styles import families, version_of
from nst_core.training.checkpoint import read_checkpoint
from nst_core.training.curve import read_losses
from nst_core.training.run import RunPlan, TrainingRun
from nst_core.training.step_losses import StepLosses
from tests.unit.nst_core.training.kit import TINY, MemoryPhotos, soft_photos, soft_picture, with_network

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = replace(with_network(TINY, norm="batch"), steps=6, stability_weight=1e3)
Make = Callable[..., TrainingRun]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes runs in tmp_path/run for a style picture, and closes them."""
    soft_picture(7).save(tmp_path / "style.png")
    soft_picture(8).save(tmp_path / "sample.png")
    made: list[TrainingRun] = []

    def make(*, photos: MemoryPhotos | None = None, **changes: Any) -> TrainingRun:
        values = {"folder": tmp_path / "run", "config": CONFIG, "paintings": (tmp_path / "style.png",), **changes}
        plan = RunPlan(**{"checkpoint_every": 2, "sample_every": 3, **values})
        run = TrainingRun(
            plan, photos=photos or soft_photos(), device=torch.device("cpu"), precision="fp32", compiled=False
        )
        made.append(run)
        return run

    yield make
    for run in made:
        run.close()


class After:
    """Requests a stop after a number of steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


class Killed(Exception):
    """Stands for a process that dies."""


def die_at(step: int) -> Callable[[StepLosses], None]:
    """Return a step callback that ends the process at a step."""

    def hear(losses: StepLosses) -> None:
        if losses.step == step:
            raise Killed

    return hear


def test_a_run_writes_all_its_files(make: Make, tmp_path: Path) -> None:
    heard: list[StepLosses] = []
    run = make(samples=(tmp_path / "sample.png",))
    run.run(on_step=heard.append)
    assert run.done
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "checkpoint.safetensors",
        "losses.csv",
        "losses.png",
        "photos.json",
        "sample_000003.jpg",
        "sample_000006.jpg",
        "style.safetensors",
    ]
    assert read_losses(tmp_path / "run" / "losses.csv") == heard
    assert [losses.step for losses in heard] == [1, 2, 3, 4, 5, 6]
    net = load_transformer(tmp_path / "run" / "style.safetensors")
    assert net.config == CONFIG.transformer
    weight = run.trainer.transformer.head.weight
    torch.testing.assert_close(net.head.weight, weight.detach(), atol=1e-4, rtol=1e-3)
    with Image.open(tmp_path / "run" / "sample_000006.jpg") as sample:
        assert sample.size == (64, 48)


def test_a_checkpoint_records_the_sources_of_the_training(make: Make, tmp_path: Path) -> None:
    run = make()
    run.run()
    origin = read_checkpoint(tmp_path / "run" / "checkpoint.safetensors").origin
    assert origin == {
        "style_sha256": version_of((tmp_path / "style.png").read_bytes()),
        "initial_sha256": None,
        "predictor_sha256": None,
        "photos": run.trainer.photos.describe(),
    }


def test_a_killed_run_resumes_to_the_same_bytes(make: Make, tmp_path: Path) -> None:
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    make(folder=undisturbed).run()
    for step in (1, 4, 6):
        with pytest.raises(Killed):
            make(folder=disturbed).run(on_step=die_at(step))
    make(folder=disturbed).run()
    for name in ("checkpoint.safetensors", "style.safetensors"):
        assert (disturbed / name).read_bytes() == (undisturbed / name).read_bytes()
    assert read_losses(disturbed / "losses.csv") == read_losses(undisturbed / "losses.csv")
    assert len((disturbed / "losses.csv").read_text().splitlines()) == 1 + CONFIG.steps


def test_a_stopped_run_loses_no_step(make: Make, tmp_path: Path) -> None:
    first = make(checkpoint_every=100)
    first.run(stop=After(3))
    assert not first.done
    assert not (tmp_path / "run" / "style.safetensors").exists()
    heard: list[StepLosses] = []
    second = make(checkpoint_every=100)
    second.run(on_step=heard.append)
    assert [losses.step for losses in heard] == [4, 5, 6]
    assert second.done


def test_a_finished_run_is_not_trained_further(make: Make, tmp_path: Path) -> None:
    make().run()
    before = (tmp_path / "run" / "style.safetensors").read_bytes()
    make().run(on_step=die_at(7))
    assert (tmp_path / "run" / "style.safetensors").read_bytes() == before


def test_a_finished_run_may_be_extended(make: Make, tmp_path: Path) -> None:
    make().run()
    longer = replace(CONFIG, steps=8)
    with pytest.raises(WeightsError, match="steps 6, not 8"):
        make(config=longer)
    make(config=longer, extend=True).run()
    checkpoint = read_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert (checkpoint.step, checkpoint.extensions) == (8, ((6, 6),))
    assert len(read_losses(tmp_path / "run" / "losses.csv")) == 8


def test_a_run_starts_from_the_weights_of_a_style(make: Make, tmp_path: Path) -> None:
    torch.manual_seed(3)
    save_transformer(TransformerNet(CONFIG.transformer), tmp_path / "initial.safetensors")
    initial = load_transformer(tmp_path / "initial.safetensors")
    run = make(initial=tmp_path / "initial.safetensors")
    assert torch.equal(run.trainer.transformer.head.weight, initial.head.weight)
    run.run(stop=After(2))
    sha256 = version_of((tmp_path / "initial.safetensors").read_bytes())
    # It resumes from its checkpoint with the same file or without it, but not with another file.
    for initial_path in (tmp_path / "initial.safetensors", None):
        again = make(initial=initial_path)
        assert again.trainer.step_number == 2
        again.run(stop=After(1))
        assert read_checkpoint(tmp_path / "run" / "checkpoint.safetensors").origin["initial_sha256"] == sha256
        again.trainer.step_number = 2
        again.trainer.save(tmp_path / "run" / "checkpoint.safetensors")
    save_transformer(TransformerNet(CONFIG.transformer), tmp_path / "initial.safetensors")
    with pytest.raises(WeightsError, match="did not begin with"):
        make(initial=tmp_path / "initial.safetensors")


def test_a_style_of_the_painters_begins_with_a_guess_and_survives_a_kill(make: Make, tmp_path: Path) -> None:
    family = families()["painters"]
    whole = load_transformer(family.file, style=None)
    config = replace(TINY, transformer=whole.config.newcomer, trained="norms", steps=4, batch_size=1)
    predictor = family.predictor
    assert predictor is not None
    plan: dict[str, Any] = {"config": config, "initial": family.file, "plot": False}
    straight = make(folder=tmp_path / "straight", **plan)
    assert straight.trainer.origin["predictor_sha256"] == version_of(predictor.read_bytes())
    mean = one_style(whole, dict.fromkeys(range(whole.config.paintings), 1 / whole.config.paintings))
    assert not torch.allclose(
        one_style(straight.trainer.transformer, 0).up1.norm.weight, mean.up1.norm.weight, atol=0.05
    )
    straight.run()
    with pytest.raises(Killed):
        make(**plan).run(on_step=die_at(3))
    again = make(**plan)
    assert again.trainer.step_number == 2
    again.run()
    files = (tmp_path / name / "checkpoint.safetensors" for name in ("straight", "run"))
    first, second = map(read_checkpoint, files)
    assert first.origin == second.origin
    assert all(torch.equal(tensor, second.tensors[name]) for name, tensor in first.tensors.items())


FAMILY = replace(with_network(TINY, styles=3), steps=6, identity_weight=10.0)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two paintings."""
    soft_picture(10).save(tmp_path / "second.png")
    return tmp_path / "style.png", tmp_path / "second.png"


def test_several_paintings_make_one_network(make: Make, two: tuple[Path, Path], tmp_path: Path) -> None:
    run = make(config=FAMILY, paintings=two, samples=(tmp_path / "sample.png",), sample_every=6)
    run.run()
    assert sorted(path.name for path in (tmp_path / "run").glob("*.jpg")) == [
        "sample_identity_000006.jpg",
        "sample_second_000006.jpg",
        "sample_style_000006.jpg",
    ]
    data = (tmp_path / "run" / "style.safetensors").read_bytes()
    assert load_transformer_bytes(data, style=None).config.styles == 3
    weights = [load_transformer_bytes(data, style=index).down1.norm.get_parameter("bias") for index in range(3)]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    origin = read_checkpoint(tmp_path / "run" / "checkpoint.safetensors").origin
    assert origin["style_sha256"] == [version_of(path.read_bytes()) for path in two]
    with pytest.raises(WeightsError, match="another style picture"):
        make(config=FAMILY, paintings=two[::-1])


def test_each_style_ends_with_a_palette_and_the_checkpoint_has_none(
    make: Make, two: tuple[Path, Path], tmp_path: Path
) -> None:
    config = replace(FAMILY, palette=1.0)
    make(config=config, paintings=two).run()
    net = load_transformer(tmp_path / "run" / "style.safetensors", style=None)
    assert net.config == replace(config.transformer, palette=True)
    first, second, identity = net.get_buffer("palette")
    assert first.any()
    assert second.any()
    assert not torch.equal(first, second)
    assert not identity.any()
    checkpoint = read_checkpoint(tmp_path / "run" / "checkpoint.safetensors")
    assert not any("palette" in name for name in checkpoint.tensors)
    made = (tmp_path / "run" / "style.safetensors").read_bytes()
    make(config=config, paintings=two).run()
    assert (tmp_path / "run" / "style.safetensors").read_bytes() == made
    begun = make(folder=tmp_path / "new", initial=tmp_path / "run" / "style.safetensors", config=config, paintings=two)
    assert not begun.trainer.transformer.config.palette


def test_a_style_that_gets_an_identity_keeps_its_palette(make: Make, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    save_transformer(with_palettes(TransformerNet(TINY.transformer), torch.rand(PALETTE_NUMBERS)), start)
    network = with_network(TINY, styles=2)
    for palette in (0.0, 1.0):
        config = replace(network, identity_weight=10.0, trained="identity", steps=2, palette=palette)
        make(folder=tmp_path / f"{palette}", config=config, initial=start).run()
        made, before = (load_transformer(path) for path in (tmp_path / f"{palette}" / "style.safetensors", start))
        assert all(torch.equal(made.state_dict()[name], value) for name, value in before.state_dict().items())


def test_a_finished_training_gets_another_palette(make: Make, tmp_path: Path) -> None:
    files = []
    for share in (0.0, 0.5):
        make(config=replace(CONFIG, palette=share)).run()
        files.append((tmp_path / "run" / "style.safetensors").read_bytes())
    plain, finished = map(load_transformer_bytes, files)
    assert (plain.config.palette, finished.config.palette) == (False, True)
    assert torch.equal(plain.head.weight, finished.head.weight)


def test_a_killed_run_of_several_paintings_resumes_to_the_same_bytes(
    make: Make, two: tuple[Path, Path], tmp_path: Path
) -> None:
    plan = {"config": FAMILY, "paintings": two}
    make(folder=tmp_path / "undisturbed", **plan).run()
    with pytest.raises(Killed):
        make(folder=tmp_path / "disturbed", **plan).run(on_step=die_at(5))
    make(folder=tmp_path / "disturbed", **plan).run()
    files = [tmp_path / folder / "checkpoint.safetensors" for folder in ("undisturbed", "disturbed")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_run_begins_with_one_of_several_styles(make: Make, two: tuple[Path, Path], tmp_path: Path) -> None:
    make(config=FAMILY, paintings=two, folder=tmp_path / "first").run()
    initial = tmp_path / "first" / "style.safetensors"
    chosen = load_transformer(initial, style=1).state_dict()
    one = replace(TINY, steps=1, trained="norms")
    run = make(config=one, paintings=two[:1], initial=initial, initial_style=1)
    ours = run.trainer.transformer.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in chosen.items())
    assert run.trainer.origin["initial_sha256"] == version_of(initial.read_bytes(), 1)
    again = make(config=FAMILY, paintings=two, initial=initial, folder=tmp_path / "again")
    whole = load_transformer(initial, style=None).state_dict()
    ours = again.trainer.transformer.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in whole.items())
    three = replace(TINY, transformer=replace(TINY.transformer, styles=3))
    with pytest.raises(ConfigError, match="has 3 styles, and this training 3: choose"):
        make(config=three, paintings=(*two, two[0]), initial=initial, folder=tmp_path / "other")
    with pytest.raises(WeightsError, match="has no style 3"):
        make(config=one, initial=initial, initial_style=3, folder=tmp_path / "other")


def test_damaged_initial_weights_are_refused(make: Make, tmp_path: Path) -> None:
    (tmp_path / "initial.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(WeightsError, match=r"initial.safetensors"):
        make(initial=tmp_path / "initial.safetensors")


def test_another_style_picture_is_refused(make: Make, tmp_path: Path) -> None:
    make().run(stop=After(1))
    soft_picture(9).save(tmp_path / "style.png")
    with pytest.raises(WeightsError, match="another style picture"):
        make()


def test_a_damaged_checkpoint_is_refused_and_kept(make: Make, tmp_path: Path) -> None:
    make().run(stop=After(1))
    path = tmp_path / "run" / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    before = path.read_bytes()
    with pytest.raises(WeightsError, match="damaged"):
        make()
    assert path.read_bytes() == before


def test_a_diverged_run_keeps_its_last_good_checkpoint(make: Make, tmp_path: Path) -> None:
    run = make()
    run.run(stop=After(4))
    good = (tmp_path / "run" / "checkpoint.safetensors").read_bytes()

    def spoil(losses: StepLosses) -> None:
        run.trainer.transformer.head.weight.data.fill_(float("inf"))

    run = make()
    with pytest.raises(TrainingDivergedError, match="step 6"):
        run.run(on_step=spoil)
    assert (tmp_path / "run" / "checkpoint.safetensors").read_bytes() == good
    assert [losses.step for losses in read_losses(tmp_path / "run" / "losses.csv")] == [1, 2, 3, 4, 5]
    assert not (tmp_path / "run" / "style.safetensors").exists()


def test_bad_photos_are_in_the_report(make: Make, tmp_path: Path) -> None:
    bad = {"text.jpg": b"no picture", "empty.jpg": b""}

    def report() -> dict[str, Any]:
        values: dict[str, Any] = json.loads((tmp_path / "run" / "photos.json").read_text())
        return values

    make(photos=MemoryPhotos(soft_photos().files | bad)).run()
    assert report()["count"] == 7
    assert report()["skipped"] == {
        "empty.jpg": "The file cannot be read.",
        "text.jpg": "The data is not an image.",
    }
    assert "only 5 photos" in report()["warning"]
    # A resumed run keeps them in its report, even if it does not read them again.
    again = make(photos=MemoryPhotos(soft_photos().files | bad), config=replace(CONFIG, steps=7), extend=True)
    again.run()
    assert set(report()["skipped"]) == set(bad)


def test_few_photos_and_changed_photos_give_warnings(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        make().run(stop=After(1))
        assert "There are only 5 photos" in caplog.text
        assert "continues with others" not in caplog.text
        make(photos=soft_photos(6))
        assert "continues with others" in caplog.text


def test_a_plan_that_cannot_be_carried_out_is_refused_at_once(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="checkpoint_every"):
        make(checkpoint_every=0)
    with pytest.raises(ConfigError, match="must be 1, not 2"):
        make(paintings=(tmp_path / "style.png", tmp_path / "style.png"))
    with pytest.raises(ConfigError, match="initial weights, but there are none"):
        make(initial_style=1)
    with pytest.raises(ConfigError, match="two of"):
        make(samples=(tmp_path / "sample.png", tmp_path / "other" / "sample.png"))
    with pytest.raises(ConfigError, match="cannot be read"):
        make(paintings=(tmp_path / "missing.png",))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ImageDecodeError, match=r"text\.png"):
        make(samples=(tmp_path / "text.png",))
    with pytest.raises(ConfigError, match="relu9_9"):
        make(config=replace(CONFIG, content_layer="relu9_9"))


def test_the_plot_of_the_losses_is_optional(make: Make, tmp_path: Path) -> None:
    make(plot=False).run()
    assert not (tmp_path / "run" / "losses.png").exists()
