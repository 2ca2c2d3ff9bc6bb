"""Trainings of several styles in one network, and of the styles alone."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError, WeightsError
from nst_core.nets.families import one_style
from nst_core.nets.loss_network import LossNetwork
from nst_core.nets.transformer import TransformerNet
from nst_core.training.checkpoint import dump_checkpoint, parse_checkpoint
from nst_core.training.config import TrainConfig
from nst_core.training.objective import PerceptualObjective, drawn_styles
from tests.unit.nst_core.training.kit import TINY, Trainers, stripes, take_steps, with_network

pytestmark = pytest.mark.usefixtures("one_thread")

TWO = with_network(TINY, styles=2)
#: Two paintings and the identity.
THREE = replace(with_network(TINY, styles=3), identity_weight=10.0)


def paintings() -> list[Tensor]:
    return [stripes(), stripes().transpose(2, 3).flip(1).contiguous()]


def photos(count: int = 3, seed: int = 6) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def varied(config: TrainConfig) -> TransformerNet:
    """Return a network whose styles differ."""
    torch.manual_seed(7)
    net = TransformerNet(config.transformer)
    for name in config.transformer.style_tensors():
        net.get_parameter(name).data += 0.3 * torch.rand(net.get_parameter(name).shape)
    return net


def drawn(config: TrainConfig, steps: int) -> Iterator[list[int]]:
    for step in range(steps):
        styles = drawn_styles(config, step)
        assert styles is not None
        yield styles.tolist()


def test_the_photos_of_a_network_with_one_style_have_none() -> None:
    assert drawn_styles(TINY, 0) is None


@pytest.mark.parametrize(("styles", "batch"), [(2, 1), (3, 2), (5, 4), (3, 9)])
def test_styles_are_drawn_evenly(styles: int, batch: int) -> None:
    config = replace(with_network(TINY, styles=styles), batch_size=batch)
    counts = Counter(style for each in drawn(config, 2 * styles) for style in each)
    assert counts == dict.fromkeys(range(styles), 2 * batch)


def test_styles_depend_on_the_seed_and_the_step_alone() -> None:
    config = replace(THREE, batch_size=4)
    assert list(drawn(config, 6)) == list(drawn(config, 6))
    assert list(drawn(config, 30)) != list(drawn(replace(config, seed=1), 30))
    assert len({tuple(each) for each in drawn(config, 30)}) > 5


def test_photos_of_the_identity_come_last() -> None:
    batches = list(drawn(replace(THREE, batch_size=4), 20))
    assert all(2 not in each[: len(each) - each.count(2)] for each in batches)
    assert any(each[0] == 1 for each in batches), "the first photo, which is the one to be shifted, may have any style"


@pytest.mark.parametrize("changes", [{}, {"tv_weight": 0.3, "stability_weight": 5.0, "shift_weight": 4.0}])
def test_the_loss_of_a_batch_is_the_mean_of_the_losses_by_single_networks(
    network: LossNetwork, changes: dict[str, Any]
) -> None:
    config = replace(TWO, style_factors=(0.5, 3.0), **changes)
    net, batch, styles = varied(config), photos(), [1, 0, 1]
    noise = 0.1 * photos(seed=8) if "stability_weight" in changes else None
    shift = torch.tensor([2, 1]) if "shift_weight" in changes else None
    objective = PerceptualObjective(config, net, network, *paintings())
    made = objective(batch, noise, shift, torch.tensor(styles), 3)
    singles = [
        PerceptualObjective(config.of_painting(index), one_style(net, index), network, paintings()[index])
        for index in (0, 1)
    ]
    each = torch.stack(
        [
            singles[style](batch[i : i + 1], None if noise is None else noise[i : i + 1], shift)
            for i, style in enumerate(styles)
        ]
    )
    torch.testing.assert_close(made[:4], each.mean(0)[:4], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(made[4], each[0, 4], rtol=1e-4, atol=1e-6)  # that of one photo


def test_the_identity_is_compared_with_the_photo_alone(network: LossNetwork) -> None:
    config = replace(THREE, tv_weight=0.3, stability_weight=5.0, shift_weight=4.0)
    net, batch, noise, shift = varied(config), photos(4), 0.1 * photos(4, seed=8), torch.tensor([2, 1])
    objective = PerceptualObjective(config, net, network, *paintings())
    styles = torch.tensor([1, 0, 2, 2])
    made = objective(batch, noise, shift, styles, 2)
    painted = objective(batch[:2], noise[:2], shift, styles[:2], 2)
    difference = (net(batch[2:], styles[2:]).double() - batch[2:].double()).square().mean()
    expected = painted / 2
    expected[0] += 10.0 * difference / 2
    torch.testing.assert_close(made, expected)
    alone = objective(batch[2:], noise[2:], shift, styles[2:], 0)
    torch.testing.assert_close(alone[0], (10.0 * difference).float())
    assert not alone[1:].any()


def test_a_step_moves_the_styles_of_its_photos_alone(trainers: Trainers) -> None:
    config = replace(with_network(TINY, styles=3), batch_size=1)
    trainer = trainers(config, style=[*paintings(), stripes()])
    before = {name: tensor.clone() for name, tensor in trainer.transformer.state_dict().items()}
    take_steps(trainer, 1)
    (style,) = next(drawn(config, 1))
    for name, tensor in trainer.transformer.state_dict().items():
        if name in config.transformer.style_tensors():
            moved = (tensor != before[name]).any(1)
            assert moved.tolist() == [index == style for index in range(3)]
        else:
            assert not torch.equal(tensor, before[name])


@pytest.mark.parametrize("config", [TWO, THREE, replace(THREE, trained="norms"), replace(TINY, trained="norms")])
def test_a_resumed_training_comes_to_the_same_bytes(trainers: Trainers, config: TrainConfig) -> None:
    style = paintings()[: config.paintings]
    whole = trainers(config, style=style)
    losses = take_steps(whole, 7)
    first = trainers(config, style=style)
    take_steps(first, 3)
    data = dump_checkpoint(first.checkpoint())
    second = trainers(config, style=style)
    second.resume(parse_checkpoint(data))
    assert take_steps(second, 4) == losses[3:]
    assert dump_checkpoint(second.checkpoint()) == dump_checkpoint(whole.checkpoint())


def test_all_styles_learn(trainers: Trainers, network: LossNetwork) -> None:
    config = replace(THREE, batch_size=3, steps=60, learning_rate=1e-2)
    trainer = trainers(config, style=paintings())
    objective = PerceptualObjective(config, trainer.transformer, network, *paintings())
    batch = trainer.photos.batch(99)

    def losses() -> list[float]:
        with torch.no_grad():
            return [
                float(objective(batch, None, None, torch.full((3,), style), 3 if style < 2 else 0).sum())
                for style in range(3)
            ]

    before = losses()
    take_steps(trainer, 60)
    assert all(after < 0.8 * start for after, start in zip(losses(), before, strict=True))


def test_norms_learn_alone(trainers: Trainers) -> None:
    config = replace(TINY, trained="norms")
    trainer = trainers(config)
    before = {name: tensor.clone() for name, tensor in trainer.transformer.state_dict().items()}
    losses = take_steps(trainer, 40)
    norms = set(config.transformer.style_tensors())
    for name, tensor in trainer.transformer.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name not in norms), name
    assert sum(each.total for each in losses[-5:]) < sum(each.total for each in losses[:5])
    kept = {name.split(".", 1)[1].rsplit(".", 1)[0] for name in trainer.state() if name.startswith("optimizer.")}
    assert kept == norms
    whole = trainers(TINY)
    take_steps(whole, 1)
    with pytest.raises(WeightsError, match="unknown tensor"):
        trainer.restore(whole.state())


def test_norms_may_learn_faster(trainers: Trainers) -> None:
    config = replace(TINY, norm_learning_rate=8.0)
    trainer = trainers(config)
    before = {name: tensor.clone() for name, tensor in trainer.transformer.state_dict().items()}
    take_steps(trainer, 1)
    rate = config.learning_rate_at(0)
    # The first step of Adam moves each number that has a gradient by the learning rate.
    for name, tensor in trainer.transformer.state_dict().items():
        share = 8.0 if name in config.transformer.style_tensors() else 0.1 if name.startswith("head.") else 1.0
        assert float((tensor - before[name]).abs().max()) == pytest.approx(share * rate, rel=1e-2), name


def test_a_training_begins_with_one_style_for_all_or_with_each_for_itself(trainers: Trainers) -> None:
    single = varied(TINY)
    family = trainers(THREE, style=paintings(), initial=single).transformer
    for index in range(3):
        ours, theirs = one_style(family, index).state_dict(), single.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    initial = varied(THREE)
    again = trainers(THREE, style=paintings(), initial=initial).transformer.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in initial.state_dict().items())
    with pytest.raises(ConfigError, match="another network"):
        trainers(THREE, style=paintings(), initial=varied(with_network(TINY, width=8)))


def test_an_identity_without_a_weight_stays_as_it_is(trainers: Trainers) -> None:
    config = with_network(replace(TINY, trained="norms"), styles=2, identity=True)
    assert all(styles == [0] * config.batch_size for styles in drawn(config, 3))
    initial = varied(THREE)
    trainer = trainers(config, initial=initial)
    before = one_style(trainer.transformer, 0).state_dict()
    take_steps(trainer, 2)
    after, own = one_style(trainer.transformer, 0).state_dict(), config.transformer.style_tensors()
    assert all(torch.equal(after[name], before[name]) == (name not in own) for name in before)
    identity = one_style(trainer.transformer, 1).state_dict()
    assert all(torch.equal(identity[name], value) for name, value in one_style(initial, 2).state_dict().items())
    with pytest.raises(ConfigError, match="has no identity"):
        trainers(config, initial=varied(TINY))


def test_a_network_gets_an_identity_and_keeps_its_pictures(trainers: Trainers) -> None:
    network = with_network(TINY, styles=2)
    config = replace(network, identity_weight=10.0, trained="identity", learning_rate=0.05, steps=60)
    initial = varied(TINY)
    trainer = trainers(config, initial=initial)
    batch = trainer.photos.batch(99)

    def difference() -> float:
        with torch.no_grad():
            return float(
                (trainer.transformer(batch, torch.ones(len(batch), dtype=torch.int64)) - batch).square().mean()
            )

    before = difference()
    take_steps(trainer, 60)
    assert difference() < 0.97 * before  # its convolutions are random
    painted = one_style(trainer.transformer, 0).state_dict()
    assert all(torch.equal(painted[name], value) for name, value in initial.state_dict().items())
    assert config.of_painting(0).trained == "norms"
    with pytest.raises(ConfigError, match="has a weight"):
        replace(TINY, trained="identity")


def test_the_number_of_paintings_is_checked(trainers: Trainers) -> None:
    with pytest.raises(ConfigError, match="must be 2, not 1"):
        trainers(TWO)
    with pytest.raises(ConfigError, match="must be 1, not 2"):
        trainers(TINY, style=paintings())


def test_several_styles_train_in_bfloat16(trainers: Trainers) -> None:
    trainer = trainers(THREE, style=paintings(), precision="bf16")
    assert all(each.total > 0 for each in take_steps(trainer, 3))


def test_fields_for_several_styles_are_checked_and_kept() -> None:
    config = replace(THREE, style_factors=(1.0, 2.5), style_strokes=(0.5, 1.5), trained="norms")
    assert config.paintings == 2
    assert TrainConfig.from_dict(config.to_dict()) == config
    assert config.to_dict()["style_factors"] == [1.0, 2.5]
    assert config.of_painting(1).style_weights == {"relu1_2": 2.5e-3, "relu2_1": 2.5e-3}
    assert config.of_painting(1).transformer == TINY.transformer
    assert config.to_dict()["style_strokes"] == [0.5, 1.5]
    assert config.style_sizes_px == [round(0.5 * TINY.style_size_px), round(1.5 * TINY.style_size_px)]
    assert config.of_painting(1).style_size_px == config.style_sizes_px[1]
    assert THREE.style_sizes_px == 2 * [TINY.style_size_px]
    with pytest.raises(ConfigError, match="for each of 2 paintings"):
        replace(THREE, style_factors=(1.0,))
    with pytest.raises(ConfigError, match=r"style_factors\[1\] must be a number"):
        replace(THREE, style_factors=(1.0, -1.0))
    with pytest.raises(ConfigError, match=r"style_strokes\[0\] must be a number from 0.05 to 20"):
        replace(THREE, style_strokes=(90.0, 1.0))
    with pytest.raises(ConfigError, match="style_factors must"):
        TrainConfig.from_dict({"style_factors": "1"})
    with pytest.raises(ConfigError, match="identity_weight needs"):
        replace(TINY, identity_weight=1.0)
    with pytest.raises(ConfigError, match=r"must have a weight \(identity_weight\) if its convolutions learn"):
        replace(THREE, identity_weight=0.0)
    with pytest.raises(ConfigError, match="must have another style too"):
        with_network(TINY, identity=True)
    assert THREE.transformer.identity
    with pytest.raises(ConfigError, match="norm instance"):
        replace(with_network(TINY, norm="batch"), trained="norms")
    with pytest.raises(ConfigError, match="trained must be one of all, norms"):
        TrainConfig.from_dict({"trained": "head"})
