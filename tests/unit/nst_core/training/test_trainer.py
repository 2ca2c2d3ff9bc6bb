"""Training steps: every kind of network learns, resuming changes no bit, and no loss is silently infinite."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from PIL import Image

from nst_core.errors import ConfigError, TrainingDivergedError, WeightsError
from nst_core.nets import native
from nst_core.nets.loss_network import LossNetwork
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.weights import load_transformer, save_transformer
from nst_core.training.checkpoint import dump_checkpoint, parse_checkpoint
from nst_core.training.config import TrainConfig
from nst_core.training.objective import moved
from nst_core.training.step_losses import StepLosses
from nst_core.training.trainer import Trainer
from tests.unit.nst_core.training.kit import (
    TINY,
    MemoryPhotos,
    Trainers,
    encoded,
    soft_photos,
    take_steps,
    with_network,
)

pytestmark = pytest.mark.usefixtures("one_thread")

#: Everything that has a state: batch statistics, noise, shifts, several crops, another schedule.
ALL_ON = replace(
    with_network(TINY, norm="batch", upsample="transposed"),
    stability_weight=1e4,
    shift_weight=1e4,
    grid_weight=1e4,
    tv_weight=10.0,
    crops_per_photo=3,
    style_crops=2,
    schedule="step",
    decay_every_steps=3,
)


def same(a: Trainer, b: Trainer) -> bool:
    """Return whether two trainers have equal weights, statistics and moments, bit for bit."""
    first, second = a.state(), b.state()
    return first.keys() == second.keys() and all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.parametrize(("norm", "upsample"), [*product(("instance", "batch"), ("nearest", "transposed"))])
def test_the_loss_goes_down_with_every_kind_of_network(trainers: Trainers, norm: str, upsample: str) -> None:
    losses = [step.total for step in take_steps(trainers(with_network(TINY, norm=norm, upsample=upsample)), 40)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


def test_bfloat16_trains_without_a_compiler_too(trainers: Trainers) -> None:
    losses = [step.total for step in take_steps(trainers(precision="bf16"), 40)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])


def test_integers_train_as_floats_do(trainers: Trainers) -> None:
    config = with_network(TINY, width=16)  # the least of which there are kernels
    exact, integers = (
        [step.total for step in take_steps(trainers(config, precision=precision), 30)]
        for precision in ("fp32", "int16")
    )
    assert integers[0] == pytest.approx(exact[0], rel=1e-3)
    assert integers != exact or native.library() is None
    assert np.mean(integers[-5:]) == pytest.approx(np.mean(exact[-5:]), rel=0.05)
    assert np.mean(integers[-5:]) < 0.75 * np.mean(integers[:5])


def test_the_stability_term_makes_outputs_for_noisy_photos_more_stable(trainers: Trainers) -> None:
    without, with_it = trainers(), trainers(replace(TINY, stability_weight=1e9))
    take_steps(without, 15)
    take_steps(with_it, 15)
    photo = without.photos.batch(0)
    noisy = photo + 0.05 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))

    def change(trainer: Trainer) -> float:
        with torch.no_grad():
            clean, other = trainer.transformer(photo), trainer.transformer(noisy)
        return float((clean - other).square().mean())

    assert change(with_it) < 0.5 * change(without)


def test_the_shift_term_makes_outputs_move_with_their_photos(trainers: Trainers) -> None:
    without, with_it = trainers(), trainers(replace(TINY, shift_weight=1e9))
    assert all(losses.shift == 0 for losses in take_steps(without, 15))
    assert all(losses.shift > 0 for losses in take_steps(with_it, 15))
    photo = without.photos.batch(0)
    shift = torch.tensor([1, 2])

    def fixed(trainer: Trainer) -> float:
        with torch.no_grad():
            difference = trainer.transformer(moved(photo, shift)) - moved(trainer.transformer(photo), shift)
        return float(difference[..., 8:-8, 8:-8].square().mean())

    assert fixed(with_it) < 0.5 * fixed(without)


@pytest.mark.parametrize("config", [TINY, ALL_ON], ids=["plain", "all_on"])
def test_a_resumed_training_is_bit_identical_to_an_uninterrupted_one(
    trainers: Trainers, tmp_path: Path, config: TrainConfig
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    undisturbed = trainers(config)
    expected = take_steps(undisturbed, 8)
    first = trainers(config)
    take_steps(first, 3)
    first.save(path)
    take_steps(first, 1)  # work after the checkpoint is lost with its process
    torch.manual_seed(12345)
    second = trainers(config)
    second.load(path)
    assert second.step_number == 3
    torch.rand(7)  # other random numbers of the process do not matter
    assert take_steps(second, 5) == expected[3:]
    assert same(second, undisturbed)


def test_a_trainer_can_return_to_its_own_checkpoint(trainers: Trainers, tmp_path: Path) -> None:
    trainer = trainers()
    trainer.save(tmp_path / "start.safetensors")  # before the first step, when Adam has no moments
    expected = take_steps(trainer, 3)
    trainer.load(tmp_path / "start.safetensors")
    assert take_steps(trainer, 3) == expected


def test_a_resumed_training_writes_the_same_checkpoint(trainers: Trainers, tmp_path: Path) -> None:
    first = trainers(ALL_ON)
    take_steps(first, 2)
    first.save(tmp_path / "first.safetensors")
    second = trainers(ALL_ON)
    second.load(tmp_path / "first.safetensors")
    second.save(tmp_path / "second.safetensors")
    assert (tmp_path / "first.safetensors").read_bytes() == (tmp_path / "second.safetensors").read_bytes()


def test_trainings_with_the_same_seed_are_equal_and_with_different_seeds_are_not(trainers: Trainers) -> None:
    first = take_steps(trainers(), 2)
    assert take_steps(trainers(threads=3), 2) == first
    assert take_steps(trainers(replace(TINY, seed=1)), 2) != first


def test_making_a_trainer_does_not_change_the_global_random_state(trainers: Trainers) -> None:
    before = torch.random.get_rng_state()
    take_steps(trainers(ALL_ON), 1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_checkpoint_of_another_config_is_refused_and_the_fields_are_named(trainers: Trainers, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    trainers().save(path)
    with pytest.raises(WeightsError, match=r"config: learning_rate 0\.005, not 0\.0001; seed 0, not 3"):
        trainers(replace(TINY, learning_rate=1e-4, seed=3)).load(path)
    with pytest.raises(WeightsError, match=r"transformer\.width 4, not 8"):
        trainers(with_network(TINY, width=8)).load(path, extend=True)


def test_more_steps_must_be_requested(trainers: Trainers, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    short = trainers(replace(TINY, steps=2))
    take_steps(short, 2)
    assert short.done
    short.save(path)
    longer = trainers(replace(TINY, steps=4))
    with pytest.raises(WeightsError, match=r"steps 2, not 4\. A training can be extended"):
        longer.load(path)
    longer.load(path, extend=True)
    assert not longer.done
    assert longer.extensions == ((2, 2),)
    assert [losses.step for losses in take_steps(longer, 2)] == [3, 4]
    longer.save(path)
    again = trainers(replace(TINY, steps=4))
    again.load(path, extend=True)  # nothing left to extend
    assert again.extensions == ((2, 2),)
    with pytest.raises(WeightsError, match="steps 4, not 3"):
        trainers(replace(TINY, steps=3)).load(path, extend=True)


def test_training_starts_from_the_weights_of_another_style(trainers: Trainers, tmp_path: Path) -> None:
    teacher = trainers()
    take_steps(teacher, 30)
    save_transformer(teacher.transformer, tmp_path / "style.safetensors")
    initial = load_transformer(tmp_path / "style.safetensors")
    config = replace(TINY, content_weight=3.0, learning_rate=1e-4)
    fine = trainers(config, initial=initial)
    assert all(torch.equal(value, initial.state_dict()[key]) for key, value in fine.transformer.state_dict().items())
    assert take_steps(fine, 1)[0].total < 0.7 * take_steps(trainers(config), 1)[0].total
    assert not any(torch.equal(p, initial.state_dict()[key]) for key, p in fine.transformer.named_parameters())


def test_initial_weights_of_another_network_are_refused(trainers: Trainers) -> None:
    with pytest.raises(ConfigError, match="another network"):
        trainers(initial=TransformerNet(replace(TINY.transformer, norm="batch")))


def test_losses_that_are_not_finite_end_the_training(trainers: Trainers) -> None:
    with pytest.raises(TrainingDivergedError, match=r"step 1 are not finite \(content .*, style inf"):
        trainers(replace(TINY, style_weights={"relu1_2": 1e30}, gram="hw")).step()


def test_weights_that_are_not_finite_are_not_saved_over_good_ones(trainers: Trainers, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    trainer = trainers()
    take_steps(trainer, 1)
    trainer.save(path)
    good = path.read_bytes()
    with torch.no_grad():
        trainer.transformer.head.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(TrainingDivergedError, match=r"head\.weight"):
        trainer.save(path)
    assert path.read_bytes() == good


@pytest.mark.parametrize("level", [0, 128, 255])
def test_plain_grey_photos_can_be_trained_on(trainers: Trainers, level: int) -> None:
    photos = MemoryPhotos({"grey": encoded(Image.new("L", (40, 40), level))})
    assert all(np.isfinite(losses.total) for losses in take_steps(trainers(photos=photos), 5))


def test_a_style_without_any_structure_can_be_trained(trainers: Trainers) -> None:
    style = torch.full((1, 3, 32, 32), 0.5)
    assert all(np.isfinite(losses.total) for losses in take_steps(trainers(style=style), 5))


def test_a_training_is_done_after_its_last_step(trainers: Trainers) -> None:
    trainer = trainers(replace(TINY, steps=2))
    trainer.step()
    assert not trainer.done
    assert trainer.step().step == 2
    assert trainer.done


def test_a_step_reports_its_learning_rate_and_its_time(trainers: Trainers) -> None:
    first, second = take_steps(trainers(), 2)
    assert (first.learning_rate, second.learning_rate) == (TINY.learning_rate_at(0), TINY.learning_rate_at(1))
    assert first.seconds > 0


def test_the_head_learns_with_its_share_of_the_rate(trainers: Trainers) -> None:
    trainer = trainers(replace(TINY, head_learning_rate=0.0))
    head = trainer.transformer.head.weight.clone()
    body = trainer.transformer.down1.conv.weight.clone()
    take_steps(trainer, 2)
    assert torch.equal(trainer.transformer.head.weight, head)
    assert not torch.equal(trainer.transformer.down1.conv.weight, body)


def test_the_loss_network_is_not_changed(trainers: Trainers, network: LossNetwork) -> None:
    before = {key: value.clone() for key, value in network.state_dict().items()}
    take_steps(trainers(), 2)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_step_losses_sum_to_their_total() -> None:
    assert StepLosses(step=1, content=1.0, style=2.0, tv=4.0, stability=8.0, shift=16.0, grid=32.0).total == 63.0


def test_a_state_that_does_not_fit_changes_nothing(trainers: Trainers) -> None:
    trainer, other = trainers(), trainers()
    take_steps(trainer, 1)
    take_steps(other, 1)
    good = {key: value.clone() for key, value in trainer.state().items()}
    for wrong, message in (
        ({**good, "optimizer.head.bias.exp_avg": torch.zeros(4)}, "shape"),
        ({key: value for key, value in good.items() if key != "optimizer.head.bias.step"}, "no tensor"),
        ({key: value for key, value in good.items() if key != "transformer.head.bias"}, "no tensor"),
        ({**good, "transformer.tail": torch.zeros(1)}, "unknown tensor"),
    ):
        with pytest.raises(WeightsError, match=message):
            trainer.restore(wrong)
        assert same(trainer, other)


def test_a_training_passed_between_processes_as_bytes_is_bit_identical(trainers: Trainers) -> None:
    undisturbed = trainers(ALL_ON)
    undisturbed.origin = {"style_sha256": "ab"}
    expected = take_steps(undisturbed, 6)
    found: list[StepLosses] = []
    data = None
    for steps in (2, 1, 3):
        trainer = trainers(ALL_ON)
        trainer.origin = {"style_sha256": "ab"}
        if data is not None:
            trainer.resume(parse_checkpoint(data))
        found += take_steps(trainer, steps)
        data = dump_checkpoint(trainer.checkpoint())
    assert found == expected
    assert data == dump_checkpoint(undisturbed.checkpoint())


def test_a_checkpoint_describes_its_training(trainers: Trainers) -> None:
    trainer = trainers()
    trainer.origin = {"style_sha256": "ab"}
    take_steps(trainer, 2)
    checkpoint = trainer.checkpoint()
    assert (checkpoint.step, checkpoint.config, checkpoint.origin) == (2, TINY, {"style_sha256": "ab"})
    assert checkpoint.tensors.keys() == trainer.state().keys()


def test_a_resumed_trainer_has_its_own_tensors(trainers: Trainers) -> None:
    first, second = trainers(), trainers()
    take_steps(first, 1)
    checkpoint = parse_checkpoint(dump_checkpoint(first.checkpoint()))
    before = {name: tensor.clone() for name, tensor in checkpoint.tensors.items()}
    second.resume(checkpoint)
    take_steps(second, 1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in checkpoint.tensors.items())


def test_a_checkpoint_that_cannot_be_resumed_is_named_and_changes_nothing(trainers: Trainers) -> None:
    trainer, other = trainers(), trainers()
    take_steps(trainer, 1)
    checkpoint = trainer.checkpoint()
    with pytest.raises(WeightsError, match=r"^The parent was made with another training config: seed 0, not 1\.$"):
        trainers(replace(TINY, seed=1)).resume(checkpoint, name="The parent")
    fewer = {name: tensor for name, tensor in checkpoint.tensors.items() if name != "transformer.head.bias"}
    with pytest.raises(WeightsError, match=r"^The parent cannot be used\. .*no tensor transformer\.head\.bias"):
        other.resume(replace(checkpoint, tensors=fewer), name="The parent")
    assert other.step_number == 0
    assert same(other, trainers())


def test_the_photos_of_the_next_step_can_be_waited_for(trainers: Trainers) -> None:
    going = Event()

    class SlowPhotos(MemoryPhotos):
        def read(self, name: str) -> bytes:
            assert going.wait(30)
            return super().read(name)

    trainer = trainers(photos=SlowPhotos(soft_photos().files))
    assert not trainer.wait(timeout_s=0.01)
    going.set()
    assert trainer.wait(timeout_s=30.0)
    assert take_steps(trainer, 1) == take_steps(trainers(), 1)
