"""Gradients of objectives: against autograd, and tile by tile against those of the whole picture."""

import pytest
import torch
from torch import Tensor

from nst_core.gatys.config import MAP_TERMS, GatysConfig
from nst_core.gatys.evaluation import balance, evaluator
from nst_core.gatys.objective import Features, Objective
from nst_core.gatys.presets import PRESETS
from nst_core.losses.balance import gradient_norm
from nst_core.nets.loss_network import VGG, load_loss_network
from nst_core.system.devices import TrainingPrecision
from tests.unit.nst_core.gatys.kit import photo
from tests.unit.nst_core.gatys.test_objective import canvas, objective, prepared, value
from tests.unit.nst_core.losses.samples import variable

pytestmark = pytest.mark.usefixtures("one_thread")

#: Widths and heights, no multiples of 16. The second is longer than a tile with the largest margin, of 80 pixels.
WIDE, LONG = (101, 83), (43, 331)


def pair(
    config: GatysConfig,
    *,
    size: tuple[int, int] = WIDE,
    side: int = 32,
    dtype: torch.dtype = torch.float64,
    precision: TrainingPrecision = "fp32",
    channels: int = 3,
    regions: bool = False,
) -> tuple[Objective, Objective, Tensor]:
    """Return the objectives of a config for whole pictures and for tiles, and a picture.

    A tile has about the pixels of a square with that side, and margins; across the second picture it has that height.
    """
    network = load_loss_network(
        config.layers, name=config.network, pooling=config.pooling, scale=config.feature_scale
    ).to(dtype)
    content, painting, picture = (
        photo(name, width=width, height=height).to(dtype)[:, :channels]
        for name, (width, height) in (("astronaut", size), ("coffee", (50, 190)), ("chelsea", size))
    )
    styles = [prepared(painting, weight=0.75)]
    if regions:
        left, right, lower = (torch.zeros_like(image[:, :1]) for image in (content, content, painting))
        left[..., :70], right[..., 30:, 60:], lower[..., 80:, :] = 1, 0.5, 1
        styles += [
            prepared(painting, weight=0.5, region=left, style_region=lower),
            prepared(painting.flip(3), weight=0.25, region=right),
        ]
    features = Features(network, precision)
    assert isinstance(network.body, VGG)
    tile_pixels = (side + 2 * network.body.margin) * (48 if size == LONG else side + 2 * network.body.margin)
    whole, cut = (
        Objective(config, features=features, content=content, styles=styles, tile_pixels=number)
        for number in (None, tile_pixels)
    )
    return whole, cut, picture


def check_equal(whole: Objective, cut: Objective, picture: Tensor, *, within: float) -> None:
    """Check that loss and gradient are the same, relative to their size."""
    parts, gradient = evaluator(whole, compiled=False)(picture)
    own_parts, own_gradient = evaluator(cut, compiled=False)(picture)
    torch.testing.assert_close(own_parts, parts, rtol=within, atol=0)
    assert gradient.norm() > 0
    assert float((own_gradient - gradient).norm() / gradient.norm()) < within
    assert float((own_gradient - gradient).abs().max() / gradient.abs().max()) < within


def count_tiles(module: Objective, picture: Tensor) -> int:
    return len(list(module.tiles(picture)))


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_loss_and_gradient_by_tiles_are_those_of_the_whole_picture(name: str) -> None:
    whole, cut, picture = pair(PRESETS[name], size=LONG, side=96)
    assert count_tiles(cut, picture) > 1
    assert count_tiles(whole, picture) == 1
    check_equal(whole, cut, picture, within=1e-9)


@pytest.mark.parametrize("term", ["gram", *(term for term in MAP_TERMS if term != "mrf")])
def test_regions_by_tiles_are_those_of_the_whole_picture(term: str) -> None:
    config = GatysConfig.from_dict({"content": {"conv2_1": 1.0}, term: {"relu1_1": 1.0, "pool2": 1.0, "relu2_2": 1.0}})
    whole, cut, picture = pair(config, regions=True)
    assert count_tiles(cut, picture) > 6
    check_equal(whole, cut, picture, within=1e-9)


@pytest.mark.parametrize(("side", "size"), [(2, (51, 37)), (30, WIDE)])
def test_small_tiles_and_those_without_a_position_of_a_layer_change_nothing(side: int, size: tuple[int, int]) -> None:
    config = GatysConfig(pooling="average", content={"pool2": 1.0}, gram={"pool2": 1.0, "conv1_1": 1e-3})
    whole, cut, picture = pair(config, size=size, side=side)
    assert count_tiles(cut, picture) > 6
    check_equal(whole, cut, picture, within=1e-9)


def test_a_luminance_by_tiles_is_that_of_the_whole_picture() -> None:
    config = GatysConfig(content={"relu2_1": 1.0}, gram={"relu1_1": 1.0}, tv_weight=1.0, laplacian={4: 100.0})
    check_equal(*pair(config, channels=1), within=1e-9)


def test_balanced_weights_by_tiles_are_those_of_the_whole_picture() -> None:
    gram = {"relu1_1": 1.0, "relu2_1": 0.5}
    config = GatysConfig(gram=gram, histogram={"relu1_1": 1.0}, moments={"relu2_1": 0.5}, balance=True, tv_weight=2.0)
    whole, cut, picture = pair(config)
    balance(whole, picture)
    balance(cut, picture)
    assert cut.weights.tolist() == pytest.approx(whole.weights.tolist(), rel=1e-6)
    check_equal(whole, cut, picture, within=1e-6)


@pytest.mark.parametrize(("precision", "within"), [("fp32", 1e-4), ("int16", 0.05), ("bf16", 0.05)])
def test_tiles_differ_by_rounding_in_each_precision(precision: TrainingPrecision, within: float) -> None:
    config = GatysConfig(content={"relu3_2": 1.0}, gram={"relu1_2": 1.0, "relu3_1": 1.0}, histogram={"relu2_1": 1.0})
    whole, cut, picture = pair(config, dtype=torch.float32, precision=precision)
    assert cut.narrow is (precision != "fp32")
    check_equal(whole, cut, picture, within=within)


def test_each_tile_is_reported() -> None:
    config = GatysConfig(content={"relu2_1": 1.0})
    seen: list[int] = []
    module = Objective(
        config,
        features=Features(load_loss_network(["relu2_1"]), "fp32"),
        content=photo("astronaut", width=163, height=109),
        styles=[],
        tile_pixels=70**2,
        on_tile=lambda: seen.append(0),
    )
    count = len(seen)
    assert count == count_tiles(module, photo("chelsea", width=163, height=109)) > 1
    evaluator(module, compiled=False)(photo("chelsea", width=163, height=109))
    assert len(seen) > 3 * count


def test_the_gradient_is_that_of_the_sum_and_the_picture_is_unchanged() -> None:
    module = objective(content={"relu2_1": 1.0}, gram={"relu1_1": 1.0}, tv_weight=1.0)
    image = canvas()
    before = image.clone()
    parts, gradient = evaluator(module, compiled=False)(image)
    assert not parts.requires_grad
    assert torch.equal(image, before)
    x = variable(image)
    (expected,) = torch.autograd.grad(module(x).sum(), x)
    torch.testing.assert_close(gradient, expected)
    step = 1e-3 * gradient / gradient.norm()
    rise = (value(module, image + step) - value(module, image - step)) / 2
    assert rise == pytest.approx(1e-3 * gradient.norm().item(), rel=0.02)


@pytest.mark.parametrize("term", MAP_TERMS)
def test_the_gradients_of_balanced_terms_are_fractions_of_the_gram_terms(term: str) -> None:
    weights = {"relu1_1": 0.5, "relu2_1": 2.0}
    module = objective(gram={"relu1_1": 1.0, "relu2_1": 1.0}, balance=True, **{term: weights})
    balance(module, canvas())
    x = variable(canvas())
    parts = module(x)
    lengths = {key: gradient_norm(part, x).item() for key, part in zip(module.keys, parts, strict=True)}
    style_length = gradient_norm(parts[[key[0] == "style" for key in module.keys]].sum(), x).item()
    for layer, ratio in weights.items():
        assert lengths[term, layer] == pytest.approx(ratio * style_length, rel=1e-3)
