"""Training: it learns, it resumes bit for bit, its schedule and its errors."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nst_core.errors import ConfigError, WeightsError
from nst_core.loss_network import LossNetwork, load_loss_network
from nst_core.losses.gram import gram_matrix
from nst_core.photos import PhotoStream, list_photos
from nst_core.train import PerceptualObjective, StepLosses, TrainConfig, Trainer
from nst_core.transformer import TransformerConfig, TransformerNet

pytestmark = pytest.mark.usefixtures("one_thread")

LAYERS = ("relu1_2", "relu2_1")
TINY = TrainConfig(
    transformer=TransformerConfig(width=8, blocks=1),
    steps=40,
    batch_size=2,
    size_px=64,
    content_layer="relu2_1",
    style_weights={"relu1_2": 1e-3, "relu2_1": 1e-3},
    warmup_steps=4,
    learning_rate=5e-3,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(5):
        blocks = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(blocks).resize((96, 72), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def network() -> LossNetwork:
    return load_loss_network(LAYERS)


@pytest.fixture(scope="module")
def style() -> torch.Tensor:
    stripes = torch.arange(64).remainder(8).lt(4).float().expand(1, 3, 64, 64)
    return stripes * torch.tensor([1.0, 0.5, 0.1]).view(1, 3, 1, 1)


class Trainers:
    """Makes trainers of one setting and closes them all at the end."""

    def __init__(self, network: LossNetwork, style: torch.Tensor, folder: Path) -> None:
        self.network = network
        self.style = style
        self.folder = folder
        self.made: list[Trainer] = []

    def __call__(self, config: TrainConfig = TINY) -> Trainer:
        photos = PhotoStream(
            list_photos(self.folder), size_px=config.size_px, batch_size=config.batch_size, seed=config.seed
        )
        trainer = Trainer(
            config,
            network=self.network,
            style=self.style,
            photos=photos,
            device=torch.device("cpu"),
            bf16=False,
            compiled=False,
        )
        self.made.append(trainer)
        return trainer


@pytest.fixture
def trainers(network: LossNetwork, style: torch.Tensor, folder: Path) -> Iterator[Trainers]:
    trainers = Trainers(network, style, folder)
    yield trainers
    for trainer in trainers.made:
        trainer.close()


def run(trainer: Trainer, steps: int) -> list[StepLosses]:
    return [trainer.step() for _ in range(steps)]


def test_the_loss_goes_down(trainers: Trainers) -> None:
    losses = [step.total for step in run(trainers(), 40)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_a_resumed_training_is_bit_identical_to_an_undisturbed_one(trainers: Trainers, tmp_path: Path) -> None:
    undisturbed = trainers()
    expected = run(undisturbed, 8)
    first = trainers()
    run(first, 3)
    first.save(tmp_path / "checkpoint.pt")
    run(first, 1)  # work after the checkpoint is lost with its process
    second = trainers()
    second.load(tmp_path / "checkpoint.pt")
    assert second.step_number == 3
    assert run(second, 5) == expected[3:]
    for key, value in undisturbed.transformer.state_dict().items():
        assert torch.equal(second.transformer.state_dict()[key], value)


def test_two_trainings_of_one_seed_are_the_same_and_of_two_seeds_are_not(trainers: Trainers) -> None:
    first = run(trainers(), 2)
    assert run(trainers(), 2) == first
    assert run(trainers(replace(TINY, seed=1)), 2) != first


def test_a_checkpoint_is_written_whole_or_not_at_all(trainers: Trainers, tmp_path: Path) -> None:
    trainer = trainers()
    trainer.save(tmp_path / "checkpoint.pt")
    trainer.save(tmp_path / "checkpoint.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_of_another_config_is_refused(trainers: Trainers, tmp_path: Path) -> None:
    trainers().save(tmp_path / "checkpoint.pt")
    with pytest.raises(WeightsError, match="another training config"):
        trainers(replace(TINY, learning_rate=1e-4)).load(tmp_path / "checkpoint.pt")


def test_a_training_is_done_after_its_last_step(trainers: Trainers) -> None:
    trainer = trainers(replace(TINY, steps=2))
    trainer.step()
    assert not trainer.done
    assert trainer.step().step == 2
    assert trainer.done


def test_the_learning_rate_warms_up_and_decays_to_its_last_share(trainers: Trainers) -> None:
    trainer = trainers(replace(TINY, steps=1000, warmup_steps=10, final_learning_rate=0.05))
    rates = [trainer.learning_rate(step) for step in range(1001)]
    assert rates[0] == pytest.approx(TINY.learning_rate / 10)
    assert max(rates) == rates[9]
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert rates[500] == pytest.approx(TINY.learning_rate * (1 + 0.05) / 2)
    assert rates[1000] == pytest.approx(TINY.learning_rate * 0.05)


def test_the_loss_network_stays_as_it_is(trainers: Trainers, network: LossNetwork) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    run(trainers(), 2)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_a_loss_network_without_a_needed_layer_is_refused(style: torch.Tensor, folder: Path) -> None:
    photos = PhotoStream(list_photos(folder), size_px=64, batch_size=1, seed=0)
    with pytest.raises(ConfigError, match="relu2_1"):
        Trainer(TINY, network=LossNetwork(["relu1_2"]), style=style, photos=photos, device=torch.device("cpu"))


def test_the_objective_is_the_weighted_sum_of_its_equations(network: LossNetwork, style: torch.Tensor) -> None:
    config = replace(TINY, content_weight=2.0, style_weights={"relu1_2": 3.0, "relu2_1": 5.0}, tv_weight=7.0)
    torch.manual_seed(0)
    transformer = TransformerNet(config.transformer)
    photos = torch.rand(2, 3, 32, 32)
    content, style_loss, tv = PerceptualObjective(config, transformer, network, style)(photos)
    output = transformer(photos)
    ours, theirs, wanted = network(output), network(photos), network(style)
    expected = 2.0 * (ours["relu2_1"] - theirs["relu2_1"]).square().mean()
    torch.testing.assert_close(content, expected)
    parts = [
        weight * ((gram_matrix(ours[layer]) - gram_matrix(wanted[layer])) / ours[layer].shape[1]).square().mean()
        for layer, weight in config.style_weights.items()
    ]
    torch.testing.assert_close(style_loss, parts[0] + parts[1])
    rows, columns = output.diff(dim=2).square().mean(), output.diff(dim=3).square().mean()
    torch.testing.assert_close(tv, 7.0 * (rows + columns))


def test_step_losses_sum_to_their_total() -> None:
    assert StepLosses(step=1, content=1.0, style=2.0, tv=4.0).total == 7.0


def test_a_config_becomes_plain_values() -> None:
    values = TINY.to_dict()
    assert values["transformer"] == TINY.transformer.to_dict()
    assert values["style_weights"] == {"relu1_2": 1e-3, "relu2_1": 1e-3}
