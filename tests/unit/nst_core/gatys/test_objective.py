"""The loss of a picture against its terms computed one by one; fast Gram matrices against plain ones."""

from typing import Any

import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError
from nst_core.gatys.config import GatysConfig
from nst_core.gatys.objective import Features, Objective, check_network
from nst_core.gatys.targets import PreparedStyle
from nst_core.losses.content import ContentLoss
from nst_core.losses.gram import GramLoss, gram_matrix
from nst_core.losses.histogram import HistogramLoss
from nst_core.losses.laplacian import LaplacianLoss
from nst_core.losses.moments import MomentsLoss, moments
from nst_core.losses.mrf import MRFLoss
from nst_core.losses.sliced import SlicedLoss
from nst_core.losses.tv import TVLoss
from nst_core.nets import native
from nst_core.nets.loss_network import load_loss_network
from tests.unit.nst_core.gatys.kit import content, photo, style

pytestmark = pytest.mark.usefixtures("one_thread")

LAYERS = ("relu1_1", "relu2_1")


def prepared(
    image: Tensor | None = None,
    *,
    weight: float = 1.0,
    region: Tensor | None = None,
    style_region: Tensor | None = None,
) -> PreparedStyle:
    image = style() if image is None else image
    return PreparedStyle(image=image, weight=weight, region=region, style_region=style_region)


def objective(*styles: PreparedStyle, **fields: Any) -> Objective:
    """Return the objective of a config with these fields and no others; in the `precision` among them, or float32."""
    precision = fields.pop("precision", "fp32")
    config = GatysConfig.from_dict({"content": {}} | fields)
    network = Features(load_loss_network(LAYERS), precision) if config.layers else None
    return Objective(config, features=network, content=content(), styles=styles or [prepared()])


def canvas() -> Tensor:
    return photo("chelsea")


def features(image: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        result: dict[str, Tensor] = load_loss_network(LAYERS)(image)
    return result


def value(module: Objective, image: Tensor | None = None) -> float:
    with torch.no_grad():
        return float(module(canvas() if image is None else image).sum())


@pytest.mark.parametrize("normalization", ["gatys", "hw", "chw"])
def test_the_style_term_is_the_weighted_sum_of_gram_losses(normalization: Any) -> None:
    weights = {"relu1_1": 2.0, "relu2_1": 0.5}
    own, wanted = features(canvas()), features(style())
    expected = sum(
        weight * GramLoss(gram_matrix(wanted[layer]), normalization=normalization)(own[layer]).item()
        for layer, weight in weights.items()
    )
    assert value(objective(gram=weights, gram_normalization=normalization)) == pytest.approx(expected, rel=1e-4)


def test_every_other_term_is_its_loss_times_its_weight() -> None:
    own, wanted, photo_features = features(canvas()), features(style()), features(content())
    layer = "relu2_1"
    expected = {
        "content": ContentLoss()(own[layer], photo_features[layer]),
        "histogram": HistogramLoss(wanted[layer])(own[layer]),
        "moments": MomentsLoss(*moments(wanted[layer]))(own[layer]),
        "sliced": SlicedLoss(wanted[layer], seed=0)(own[layer]),
        "mrf": MRFLoss(wanted[layer], stride=2)(own[layer]),
        "laplacian": LaplacianLoss(content(), pool_px=4)(canvas()),
    }
    for term, loss in expected.items():
        fields = {term: {4 if term == "laplacian" else layer: 3.0}, "mrf_stride": 2}
        assert value(objective(**fields)) == pytest.approx(3 * loss.item(), rel=1e-3), term
    for kind in ("l1", "squared"):
        assert value(objective(tv_weight=3.0, tv_kind=kind)) == pytest.approx(
            3 * TVLoss(kind)(canvas()).item(), rel=1e-5
        )


def test_parts_are_summed_by_term_under_their_names() -> None:
    module = objective(
        content={"relu2_1": 1.0}, gram={"relu1_1": 1.0, "relu2_1": 2.0}, tv_weight=1.0, laplacian={2: 1.0, 4: 1.0}
    )
    with torch.no_grad():
        parts = module(canvas())
    losses = module.losses(parts.tolist())
    assert set(losses) == {"content", "style", "tv", "laplacian"}
    assert sum(losses.values()) == pytest.approx(parts.sum().item(), rel=1e-6)
    assert losses["style"] == pytest.approx(value(objective(gram={"relu1_1": 1.0, "relu2_1": 2.0})), rel=1e-5)


def test_style_weights_multiply_style_losses() -> None:
    def terms(*styles: PreparedStyle) -> float:
        return value(objective(*styles, gram={"relu1_1": 1.0}, histogram={"relu2_1": 1.0}, moments={"relu1_1": 1.0}))

    other = photo("astronaut", width=32, height=32)
    both = terms(prepared(weight=0.25), prepared(other, weight=0.75))
    assert both == pytest.approx(0.25 * terms(prepared()) + 0.75 * terms(prepared(other)), rel=1e-4)


@pytest.mark.parametrize("term", ["gram", "histogram", "moments", "sliced"])
def test_a_region_ignores_pixels_outside(term: str) -> None:
    region = torch.zeros(1, 1, 40, 48)
    region[..., :24] = 1
    module = objective(prepared(region=region), **{term: {"relu1_1": 1.0}})
    changed = canvas().clone()
    changed[..., 26:] = 0.5  # relu1_1 sees a pixel further
    assert value(module, changed) == pytest.approx(value(module), rel=1e-5)
    changed[..., :20] = 0.5
    assert value(module, changed) != pytest.approx(value(module), rel=0.01)


@pytest.mark.parametrize("term", ["gram", "histogram", "moments", "sliced"])
def test_a_style_region_takes_the_style_only_from_there(term: str) -> None:
    region = torch.zeros(1, 1, 48, 56)
    region[..., :28] = 1
    changed = style().clone()
    changed[..., 30:] = 0.5
    module, other = (
        objective(prepared(image, style_region=region), **{term: {"relu1_1": 1.0}}) for image in (style(), changed)
    )
    assert value(other) == pytest.approx(value(module), rel=1e-4)
    assert value(other) != pytest.approx(value(objective(prepared(changed), **{term: {"relu1_1": 1.0}})), rel=0.01)


@pytest.mark.parametrize("term", ["gram", "histogram", "moments", "sliced"])
def test_regions_of_ones_change_nothing(term: str) -> None:
    ones = prepared(region=torch.ones(1, 1, 40, 48), style_region=torch.ones(1, 1, 48, 56))
    weights = {term: {"relu1_1": 1.0, "relu2_1": 1.0}}
    assert value(objective(ones, **weights)) == pytest.approx(value(objective(**weights)), rel=1e-4)


def test_a_luminance_is_treated_as_a_grey_picture() -> None:
    config = GatysConfig(content={"relu2_1": 1.0}, tv_weight=1.0)
    network = Features(load_loss_network(LAYERS), "fp32")
    grey = canvas().mean(1, keepdim=True)
    seen = Objective(config, features=network, content=content().mean(1, keepdim=True), styles=[])
    rgb = content().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    expected = Objective(config, features=network, content=rgb, styles=[])
    assert value(seen, grey) == pytest.approx(value(expected, grey.expand(-1, 3, -1, -1)), rel=1e-6)


@pytest.mark.parametrize(("precision", "within"), [("bf16", 0.02), ("int16", 0.002)])
def test_narrow_features_give_about_the_same_losses_and_can_be_turned_off(precision: str, within: float) -> None:
    fields: dict[str, Any] = {"content": {"relu2_1": 1.0}, "gram": {"relu1_1": 0.1, "relu2_1": 0.01}}
    exact, module = objective(**fields), objective(precision=precision, **fields)
    assert (exact.narrow, module.narrow) == (False, True)
    assert value(module) == pytest.approx(value(exact), rel=within)
    assert value(module) != value(exact) or (precision == "int16" and native.library() is None)
    module.narrow = False
    assert value(module) == value(exact)


def test_a_network_without_a_layer_is_refused_by_its_name() -> None:
    network = load_loss_network(["relu1_1"])
    check_network(GatysConfig(content={"relu1_1": 1.0}), network)
    with pytest.raises(ConfigError, match="relu2_1"):
        check_network(GatysConfig(content={"relu1_1": 1.0}, gram={"relu2_1": 1.0}), network)
