"""Optimisations of odd pictures and with odd weights, within little memory: valid results, or one clear error."""

from typing import Any

import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError, ImageTooLargeError, ImageTooSmallError, WeightsError
from nst_core.gatys import costs
from nst_core.gatys.config import GatysConfig
from nst_core.gatys.sources import StyleSource
from nst_core.nets.costs import BASE_BYTES
from nst_core.nets.loss_network import load_loss_network
from tests.unit.nst_core.gatys.kit import content, finish, is_sound, make, run, shallow, style
from tests.unit.nst_core.gatys.test_optimizer import BALANCE

pytestmark = pytest.mark.usefixtures("one_thread")

GREY = content().mean(1, keepdim=True).expand(-1, 3, -1, -1)
CONSTANT = torch.full((1, 3, 40, 48), 0.5)


@pytest.mark.parametrize("color", ["style", "luminance", "linear"])
@pytest.mark.parametrize(
    ("image", "painting"),
    [
        pytest.param(GREY, style(), id="grey photo"),
        pytest.param(content(), GREY, id="grey style"),
        pytest.param(CONSTANT, CONSTANT, id="both constant"),
        pytest.param(content(), style()[..., :1, :3], id="style of 3 pixels"),
        pytest.param(content()[..., :2, :2], style(), id="tiny content"),
        pytest.param(content().double(), style().half(), id="other types"),
    ],
)
def test_unusual_pictures_have_valid_results(image: Tensor, painting: Tensor, color: Any) -> None:
    # All terms at once: none of them may fail on its own.
    config = shallow(
        color=color, histogram={"relu1_1": 1.0}, moments={"relu1_1": 1.0}, mrf={"relu2_1": 1.0}, tv_weight=1.0
    )
    optimised = make(config, content_image=image, styles=[StyleSource(image=painting)])
    for _ in range(2):
        assert optimised.step().total < float("inf")
    assert is_sound(optimised.result())
    assert optimised.result().shape[-1] == 48


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize("learning_rate", [1e-12, 1.0])
@pytest.mark.parametrize("weight", [1e-12, 1e9])
def test_extreme_learning_rates_and_weights_have_valid_results(
    optimizer: Any, learning_rate: float, weight: float
) -> None:
    config = shallow(optimizer=optimizer, learning_rate=learning_rate, gram={"relu2_1": weight}, iterations=5)
    optimised = make(config)
    totals = run(optimised)
    assert is_sound(optimised.result())
    assert totals[-1] <= 4 * totals[0]


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
@pytest.mark.parametrize(
    "fields",
    [{"gram": {"relu2_1": 1e30}}, {"histogram": {"relu2_1": 1e30}}, {"tv_weight": 1e30, "initial": "noise"}],
)
def test_weights_that_overflow_are_refused_in_one_sentence(fields: dict[str, Any], optimizer: Any) -> None:
    optimised = make(shallow(optimizer=optimizer, **fields))
    with pytest.raises(ConfigError, match=r"^The loss of the first picture .* too large\.$"):
        optimised.step()
    assert is_sound(optimised.result())


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
def test_weights_that_overflow_only_away_from_the_start_have_valid_results(optimizer: Any) -> None:
    optimised = make(shallow(optimizer=optimizer, content={"relu2_1": 1e30}))
    assert all(total < float("inf") for total in run(optimised))
    assert is_sound(optimised.result())


def in_tiles(config: GatysConfig, monkeypatch: pytest.MonkeyPatch, *, history: int, tile_px: int = 32) -> int:
    """Return an amount of memory for which the last scale of small pictures is cut into tiles, with such a history."""
    monkeypatch.setattr(costs, "TILES", (tile_px**2,))
    pixels = 48 * 41  # the style picture's
    found = [
        budget
        for budget in range(BASE_BYTES, BASE_BYTES + 2**27, 2**14)
        if costs.optimize_max_pixels(config, budget) >= pixels
        and costs.plan(config, pixels, budget) == costs.Plan(tile_pixels=tile_px**2, history=history)
    ]
    return found[0]


def test_with_little_memory_an_optimisation_runs_in_tiles_with_less_history_and_resumes_to_the_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = shallow(history=100, iterations=10, histogram={"relu2_1": 0.1})
    seen: list[int] = []
    most = in_tiles(config, monkeypatch, history=7)
    straight = make(config, max_bytes=most, on_tile=lambda: seen.append(0))
    states, totals = [], []
    while not straight.done:
        states.append(straight.state())
        totals.append(straight.step().total)
    assert seen
    assert len(straight.state()["descent.inverses"]) == 7
    whole = make(config)
    assert totals[:6] == pytest.approx([whole.step().total for _ in range(6)], rel=1e-3)
    resumed = make(config, max_bytes=most)
    resumed.restore(states[9])
    assert run(resumed) == totals[9:]
    assert torch.equal(resumed.result(), straight.result())
    # Other tiles and another history give another result.
    with pytest.raises(WeightsError, match="memory"):
        whole.restore(states[9])


def test_pictures_beyond_the_limits_are_refused() -> None:
    most = costs.optimize_bytes(shallow(), 2000, costs.Plan(tile_pixels=None, history=shallow().history))
    with pytest.raises(ImageTooLargeError, match=r"^The style picture .* 2,000 "):
        make(shallow(style_size_px=64), max_bytes=most)
    with pytest.raises(ImageTooLargeError, match=r"^The picture .* 2,000 "):
        make(shallow(size_px=None), content_image=torch.rand(1, 3, 50, 50), max_bytes=most)
    with pytest.raises(ImageTooSmallError):
        make(shallow(size_px=None), content_image=content()[..., :1])
    with pytest.raises(ImageTooSmallError):
        make(shallow(style_size_px=1))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_pictures_with_values_that_are_not_finite_are_refused(value: float) -> None:
    bad = content().clone()
    bad[0, 1, 5, 7] = value
    with pytest.raises(ConfigError, match="content picture has values"):
        make(shallow(), content_image=bad)
    with pytest.raises(ConfigError, match="style 2 has values"):
        make(shallow(), styles=[StyleSource(image=style()), StyleSource(image=bad)])
    with pytest.raises(ConfigError, match="start from has values"):
        make(shallow(initial="file"), initial=bad)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_an_invalid_weight_is_refused_with_the_number_of_its_style(weight: float) -> None:
    with pytest.raises(ConfigError, match="weight of style 1"):
        make(shallow(), styles=[StyleSource(image=style(), weight=weight)])


def test_styles_are_needed_only_if_a_term_uses_them() -> None:
    for styles in ([], [StyleSource(image=style(), weight=0.0)]):
        with pytest.raises(ConfigError, match="needs a style"):
            make(shallow(), styles=styles)
        with pytest.raises(ConfigError, match="needs a style"):
            make(shallow(gram={}, initial="style"), styles=styles)
        assert is_sound(finish(shallow(gram={}, initial="noise"), styles=styles))


def test_pixel_terms_need_no_network() -> None:
    smooth = finish(GatysConfig(content={}, tv_weight=1.0, iterations=10, size_px=48), styles=[])
    assert smooth.std() < content().std()


def test_layers_that_a_network_does_not_have_are_refused() -> None:
    with pytest.raises(ConfigError, match="relu4_4"):
        make(shallow(content={"relu4_4": 1.0}))
    with pytest.raises(ConfigError, match="relu2_1"):
        make(shallow(), network=load_loss_network(["relu1_1"]))


def test_a_given_network_works_like_a_loaded_one() -> None:
    network = load_loss_network(["relu1_1", "relu1_2", "relu2_1", "relu2_2"])
    assert torch.equal(finish(shallow(), network=network), finish(shallow()))


@pytest.mark.parametrize("more", [{}, {"optimizer": "adam", "average_decay": 0.5}, BALANCE])
def test_it_works_within_inference_mode(more: dict[str, Any]) -> None:
    config = shallow(scales=2, coarse_iterations=2, iterations=2, **more)
    expected = finish(config)
    with torch.inference_mode():
        ones = torch.ones(1, 1, 40, 48)
        styles = [StyleSource(image=style() * 1), StyleSource(image=style() * 1, region=ones, weight=0.0)]
        optimised = make(config, content_image=content() * 1, styles=styles)
        while not optimised.done:
            state = optimised.state()
            optimised = make(config, content_image=content() * 1, styles=styles)
            optimised.restore(state)
            optimised.step()
            assert is_sound(optimised.preview())
        assert torch.equal(optimised.result(), expected)
        guided = make(config, styles=[StyleSource(image=style() * 1, region=ones)])
        run(guided)
        assert is_sound(guided.result())


def test_it_accepts_a_network_that_was_loaded_in_inference_mode() -> None:
    with torch.inference_mode():
        network = load_loss_network(["relu1_1", "relu2_1"])
        result = finish(shallow(), network=network)
    assert torch.equal(result, finish(shallow()))
