"""Optimisations of real pictures: results, exact resumption, and refused inputs."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from nst_core.errors import ConfigError, NstError, WeightsError
from nst_core.gatys.optimizer import GatysOptimizer, Iterate, optimize
from nst_core.gatys.sources import StyleSource
from tests.unit.nst_core.gatys.kit import CPU, content, finish, is_sound, make, photo, run, shallow, style
from tests.unit.nst_core.gatys.test_color import chrominance

pytestmark = pytest.mark.usefixtures("one_thread")

SCALES: dict[str, Any] = {"scales": 2, "iterations": 3, "coarse_iterations": 3}
AVERAGE: dict[str, Any] = {"optimizer": "adam", "average_decay": 0.8}
BALANCE = {"histogram": {"relu1_1": 1.0, "relu2_1": 0.5}, "balance": True}
SLICED: dict[str, Any] = {"gram": {}, "sliced": {"relu1_1": 1.0, "relu2_1": 1.0}}
#: Configs that use everything a state contains.
RESUMED: dict[str, dict[str, Any]] = {
    "lbfgs": {"history": 3},
    "lbfgs over scales": SCALES,
    "adam": {"optimizer": "adam"},
    "adam with an average": AVERAGE,
    "adam with an average over scales": AVERAGE | SCALES,
    "sliced": SLICED | {"sliced_iterations": 2},
    "sliced over scales": SLICED | SCALES | {"sliced_iterations": 2},
    "sliced by adam": SLICED | {"sliced_iterations": 1, "optimizer": "adam"},
    "balance over scales": BALANCE | SCALES,
    "luminance over scales from noise": SCALES | {"color": "luminance", "initial": "noise"},
}


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_loss_falls_and_the_picture_changes(optimizer: Any) -> None:
    optimised = make(shallow(optimizer=optimizer, iterations=12))
    totals = run(optimised)
    assert totals[-1] < 0.6 * totals[0]
    if optimizer == "lbfgs":
        assert all(after <= before * (1 + 1e-5) for before, after in pairwise(totals))
    assert is_sound(optimised.result())
    assert (optimised.result() - content()).abs().mean() > 0.01


@pytest.mark.parametrize("precision", ["bf16", "int16"])
@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_the_loss_falls_in_narrow_precisions_too_and_resumes_to_the_bit(optimizer: Any, precision: Any) -> None:
    config = shallow(optimizer=optimizer, iterations=10)
    straight = make(config, precision=precision)
    totals = [straight.step().total for _ in range(4)]
    resumed = make(config, precision=precision)
    resumed.restore(straight.state())
    totals += run(straight)
    assert totals[-1] < 0.7 * totals[0]
    assert totals[4:] == run(resumed)
    assert torch.equal(straight.result(), resumed.result())


@pytest.mark.parametrize("precision", ["fp32", "int16"])
def test_optimisations_do_not_load_the_compiler_of_torch(precision: str) -> None:
    script = f"""
import sys
from tests.unit.nst_core.gatys.kit import make, shallow
make(shallow(gram={{"relu1_1": 1.0, "relu2_1": 1.0}}), precision={precision!r}).step()
assert "torch._dynamo" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_every_iteration_reports_its_losses() -> None:
    optimised = make(shallow(scales=2, iterations=3, coarse_iterations=2, tv_weight=1.0, laplacian={2: 1.0}))
    assert (optimised.iteration, optimised.iterations, optimised.done) == (0, 5, False)
    iterates = [optimised.step() for _ in range(5)]
    assert [each.iteration for each in iterates] == [1, 2, 3, 4, 5]
    assert {each.iterations for each in iterates} == {5}
    assert [each.size_px for each in iterates] == [(24, 20), (24, 20), (48, 40), (48, 40), (48, 40)]
    for each in iterates:
        assert set(each.losses) == {"content", "style", "tv", "laplacian"}
        assert each.total == pytest.approx(sum(each.losses.values()))
    assert (optimised.iteration, optimised.done) == (5, True)


def test_the_reported_losses_are_those_of_the_preview() -> None:
    optimised = make(shallow(tv_weight=2.0))
    for _ in range(3):
        iterate = optimised.step()
        again = make(shallow(tv_weight=2.0, initial="file"), initial=optimised.preview())
        parts = again._objective(optimised.preview())
        assert iterate.losses == pytest.approx(again._objective.losses(parts.tolist()), rel=1e-5)


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_new_directions_of_the_sliced_term_keep_the_progress(optimizer: Any) -> None:
    """The loss falls, whatever the directions, and falls further than with the first ones alone."""
    texture: dict[str, Any] = SLICED | {"content": {}, "iterations": 30, "optimizer": optimizer}
    fresh, fixed = (make(shallow(**texture, sliced_iterations=count)) for count in (3, 30))
    start = fresh.step().losses["sliced"]
    run(fresh)
    run(fixed)
    unseen = replace(fresh.config, seed=1, iterations=1, initial="file", learning_rate=1e-9)
    after, fixed_after = (make(unseen, initial=made.result()).step().losses["sliced"] for made in (fresh, fixed))
    assert after < 0.5 * start
    assert after < fixed_after


def test_previews_have_the_size_of_their_scale_and_results_that_of_the_last() -> None:
    optimised = make(shallow(scales=2, iterations=1, coarse_iterations=1, size_px=45))
    for height, width in ((19, 22), (19, 22), (38, 45)):
        assert optimised.preview().shape == (1, 3, height, width)
        assert optimised.result().shape == (1, 3, 38, 45)
        assert is_sound(optimised.preview())
        assert is_sound(optimised.result())
        if not optimised.done:
            optimised.step()


def test_steps_after_the_last_are_refused() -> None:
    optimised = make(shallow(iterations=1))
    optimised.step()
    before = optimised.result()
    with pytest.raises(NstError, match="no more iterations"):
        optimised.step()
    assert torch.equal(optimised.result(), before)


def test_optimize_calls_back_after_every_iteration() -> None:
    seen: list[tuple[int, int]] = []

    def on_iterate(iterate: Iterate, optimizer: GatysOptimizer) -> None:
        seen.append((iterate.iteration, optimizer.iteration))

    config = shallow(iterations=3)
    styles = [StyleSource(image=style())]
    result = optimize(config, content=content(), styles=styles, device=CPU, on_iterate=on_iterate)
    assert seen == [(1, 1), (2, 2), (3, 3)]
    assert torch.equal(result, optimize(config, content=content(), styles=styles, device=CPU))


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not() -> None:
    config = shallow(initial="noise", seed=1, iterations=3)
    first = finish(config)
    torch.rand(5)  # a draw from the global generator changes nothing
    assert torch.equal(finish(config), first)
    assert not torch.equal(finish(shallow(initial="noise", seed=2, iterations=3)), first)


def test_making_an_optimiser_does_not_change_the_pictures_or_the_global_generator() -> None:
    image, painting, state = content().clone(), style().clone(), torch.get_rng_state()
    finish(shallow(initial="noise", color="linear"), content_image=image, styles=[StyleSource(image=painting)])
    assert torch.equal(image, content())
    assert torch.equal(painting, style())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_optimisation_ends_bit_for_bit_like_an_uninterrupted_one(name: str) -> None:
    config = shallow(**RESUMED[name])
    straight = make(config)
    states = [straight.state()]
    iterates = []
    while not straight.done:
        iterates.append(straight.step())
        states.append(straight.state())
    for done in (0, 2, 3, 5):  # with two scales, 3 is the end of the first
        resumed = make(config)
        resumed.restore(states[done])
        assert resumed.iteration == done
        assert [resumed.step() for _ in range(done, len(iterates))] == iterates[done:]
        assert torch.equal(resumed.result(), straight.result())


def test_an_averaged_result_is_the_average_of_the_iterates_of_its_scale() -> None:
    plain, averaged = make(shallow(optimizer="adam")), make(shallow(**AVERAGE))
    decay, iterates = AVERAGE["average_decay"], []
    while not plain.done:
        plain.step()
        averaged.step()
        iterates.append(plain.result())
        weights = [decay**age for age in range(len(iterates))][::-1]
        expected = sum(weight * each for weight, each in zip(weights, iterates, strict=True)) / sum(weights)
        torch.testing.assert_close(averaged.result(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("more", [{}, AVERAGE])
def test_a_scale_starts_from_the_result_of_the_previous_one(more: dict[str, Any]) -> None:
    optimised = make(shallow(**SCALES, **more))
    for _ in range(3):
        optimised.step()
    finer = make(shallow(iterations=3, initial="file", **more), initial=optimised.preview())
    assert run(finer) == run(optimised)
    assert torch.equal(finer.result(), optimised.result())


def test_states_are_tensors_that_later_steps_do_not_change() -> None:
    optimised = make(shallow(optimizer="adam", average_decay=0.5))
    optimised.step()
    state = optimised.state()
    kept = {key: value.clone() for key, value in state.items()}
    other = make(shallow(optimizer="adam", average_decay=0.5))
    other.restore(state)
    run(optimised)
    run(other)
    assert all(torch.equal(state[key], kept[key]) for key in kept)
    assert all(value.device == CPU and not value.requires_grad for value in state.values())


@pytest.mark.parametrize("more", [{}, AVERAGE])
def test_a_state_without_any_one_of_its_tensors_is_refused(more: dict[str, Any]) -> None:
    optimised = make(shallow(**more))
    optimised.step()
    optimised.step()
    whole = optimised.state()
    accepted = []
    for key in whole:
        try:
            optimised.restore({name: value for name, value in whole.items() if name != key})
            accepted.append(key)
        except WeightsError:
            continue
    assert accepted == []


def test_a_state_of_another_config_or_size_is_refused() -> None:
    optimised = make(shallow())
    optimised.step()
    state = optimised.state()
    with pytest.raises(WeightsError, match="another config"):
        make(shallow(tv_weight=1.0)).restore(state)
    with pytest.raises(WeightsError, match="another size"):
        make(shallow(), content_image=photo("astronaut", width=48, height=44)).restore(state)
    with pytest.raises(WeightsError):
        make(shallow()).restore({})


def test_an_int_equal_to_a_float_makes_the_same_config() -> None:
    optimised, resumed = make(shallow(tv_weight=1.0)), make(shallow(tv_weight=1))
    optimised.step()
    resumed.restore(optimised.state())
    assert torch.equal(resumed.preview(), optimised.preview())


def test_the_order_in_which_layers_are_named_does_not_matter() -> None:
    gram = {"relu1_1": 0.1, "relu2_1": 0.01}
    histogram = {"relu1_1": 1.0, "relu2_1": 0.25}
    config = shallow(gram=gram, histogram=histogram, balance=True, iterations=3)
    other = shallow(
        gram=dict(reversed(gram.items())), histogram=dict(reversed(histogram.items())), balance=True, iterations=3
    )
    assert config == other
    optimised, resumed = make(config), make(other)
    optimised.step()
    resumed.restore(optimised.state())
    assert [each.losses for each in (resumed.step(), resumed.step())] == [
        each.losses for each in (optimised.step(), optimised.step())
    ]
    assert torch.equal(resumed.result(), optimised.result())


def test_styles_count_by_their_weight_and_those_without_not_at_all() -> None:
    config, other = shallow(iterations=3), photo("chelsea")
    one = finish(config)
    styles = [StyleSource(image=style()), StyleSource(image=other, weight=0.0)]
    assert torch.equal(finish(config, styles=styles), one)
    assert torch.equal(finish(config, styles=styles[::-1]), one)
    halves = [StyleSource(image=style(), weight=0.5)] * 2
    torch.testing.assert_close(finish(config, styles=halves), one, rtol=0, atol=1e-3)
    both = [StyleSource(image=style(), weight=0.5), StyleSource(image=other, weight=0.5)]
    assert (finish(config, styles=both) - one).abs().mean() > 1e-3


@pytest.mark.parametrize(
    "more", [{}, {"histogram": {"relu1_1": 10.0}}, {"moments": {"relu1_1": 1.0}}, {"sliced": {"relu1_1": 1.0}}]
)
def test_a_region_of_ones_has_no_effect(more: dict[str, Any]) -> None:
    config = shallow(iterations=3, **more)
    ones = StyleSource(image=style(), region=torch.ones(1, 1, 40, 48), style_region=torch.ones(1, 1, 48, 56))
    torch.testing.assert_close(finish(config, styles=[ones]), finish(config), rtol=0, atol=5e-3)


def test_regions_change_their_halves_towards_their_styles() -> None:
    left = torch.zeros(1, 1, 40, 48)
    left[..., :24] = 1
    tints = [torch.tensor(tint).view(1, 3, 1, 1) for tint in ((0.9, 0.2, 0.1), (0.1, 0.3, 0.9))]
    red, blue = (style().mean(1, keepdim=True) * tint * 1.5 for tint in tints)
    styles = [
        StyleSource(image=red.clamp(0, 1), region=left),
        StyleSource(image=blue.clamp(0, 1), region=1 - left),
    ]
    grey = content().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    result = finish(shallow(content={"relu2_1": 0.01}, iterations=20), content_image=grey, styles=styles)
    for columns, main, other in ((slice(0, 24), 0, 2), (slice(24, 48), 2, 0)):
        after = result[..., columns].mean((0, 2, 3))
        before = grey[..., columns].mean((0, 2, 3))
        assert after[main] > after[other] + 0.1
        assert after[other] < before[other] - 0.05


def test_a_region_of_another_size_is_refused_by_the_number_of_its_style() -> None:
    fine = StyleSource(image=style(), region=torch.ones(1, 1, 40, 48))
    for wrong in (
        StyleSource(image=style(), region=torch.ones(1, 1, 48, 56)),
        StyleSource(image=style(), style_region=torch.ones(1, 1, 40, 48)),
    ):
        with pytest.raises(ConfigError, match=r"region of style 2 must be 1 x 1 x \d+ x \d+"):
            make(shallow(), styles=[fine, wrong])
    with pytest.raises(ConfigError, match="mrf"):
        make(shallow(mrf={"relu2_1": 1.0}), styles=[fine])


def test_a_transfer_of_luminance_keeps_the_contents_chrominance() -> None:
    # A photo without extreme colours, so that nothing is clipped.
    mild = 0.35 + 0.3 * content()
    result = finish(shallow(color="luminance"), content_image=mild)
    inside = ((result > 0) & (result < 1)).all(1, keepdim=True).expand(-1, 2, -1, -1)
    assert inside.float().mean() > 0.9
    torch.testing.assert_close(chrominance(result)[inside], chrominance(mild)[inside], rtol=0, atol=2e-3)
    assert (result - mild).abs().mean() > 0.01


def test_a_recoloured_style_keeps_the_contents_colours() -> None:
    mean = content().mean((2, 3))
    kept, changed = (
        (finish(shallow(content={"relu2_1": 0.01}, iterations=15, color=color)).mean((2, 3)) - mean).abs().max()
        for color in ("linear", "style")
    )
    assert kept < 0.05
    assert kept < changed / 2


@pytest.mark.parametrize("initial", ["content", "style", "noise", "file"])
def test_it_starts_from_the_configured_picture(initial: Any) -> None:
    given: dict[str, Any] = {"initial": photo("chelsea")} if initial == "file" else {}
    first = make(shallow(initial=initial), **given).preview()
    assert first.shape == (1, 3, 40, 48)
    if initial == "noise":
        assert first.mean().item() == pytest.approx(0.5, abs=0.02)
        assert first.std().item() == pytest.approx(12**-0.5, abs=0.02)
    elif initial == "style":
        assert first.mean().item() == pytest.approx(style().mean().item(), abs=0.01)
    else:
        assert torch.equal(first, content() if initial == "content" else photo("chelsea"))


def test_an_initial_picture_is_given_only_if_the_config_needs_it() -> None:
    with pytest.raises(ConfigError, match="if and only if initial"):
        make(shallow(initial="file"))
    with pytest.raises(ConfigError, match="if and only if initial"):
        make(shallow(), initial=content())
    with pytest.raises(ConfigError, match="start from"):
        make(shallow(initial="file"), initial=content()[0])
