"""Pictures without variance: all losses and layers have finite gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nst_core.gatys.color import match_colors, match_luminance
from nst_core.gatys.config import GatysConfig
from nst_core.gatys.optimizer import StyleSource, optimize
from nst_core.losses.content import ContentLoss
from nst_core.losses.gram import GramLoss, gram_matrix
from nst_core.losses.histogram import HistogramLoss
from nst_core.losses.laplacian import LaplacianLoss
from nst_core.losses.moments import MomentsLoss, moments
from nst_core.losses.mrf import MRFLoss
from nst_core.losses.sliced import SlicedLoss
from nst_core.losses.tv import TVLoss
from nst_core.nets.loss_network import load_loss_network
from nst_core.nets.transformer import InstanceNorm, TransformerNet
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.training.config import TrainConfig
from nst_core.training.objective import PerceptualObjective

pytestmark = pytest.mark.usefixtures("one_thread")

FLAT = torch.full((1, 8, 6, 6), 0.7)
TEXTURE = torch.rand(1, 8, 6, 6, generator=torch.Generator().manual_seed(0))
TONES = (0.0, 0.5, 1.0)

Loss = Callable[[Tensor], Tensor]
#: Each loss, as a function of the features of its target.
LOSSES: dict[str, Callable[[Tensor], Loss]] = {
    "content": lambda target: lambda x: ContentLoss()(x, target),
    "gram": lambda target: GramLoss(gram_matrix(target), normalization="hw"),
    "histogram": HistogramLoss,
    "moments": lambda target: MomentsLoss(*moments(target)),
    "mrf": MRFLoss,
    "sliced": lambda target: SlicedLoss(target, seed=0),
    "laplacian": lambda target: LaplacianLoss(target, pool_px=1),
    "tv l1": lambda target: TVLoss("l1"),
    "tv squared": lambda target: TVLoss("squared"),
}


@pytest.mark.parametrize("target", [FLAT, TEXTURE, torch.zeros_like(FLAT)], ids=["flat", "texture", "zeros"])
@pytest.mark.parametrize("value", [0.0, 0.7], ids=["zeros", "flat"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_finite_gradients_at_features_without_variance(name: str, value: float, target: Tensor) -> None:
    features = torch.full_like(FLAT, value).requires_grad_()
    loss = LOSSES[name](target)(features)
    torch.autograd.backward(loss)
    assert loss.isfinite()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_a_channel_without_variance_becomes_its_bias_and_gets_no_gradient() -> None:
    norm = InstanceNorm(8)
    torch.nn.init.normal_(norm.bias)
    features = torch.where(torch.arange(8).view(1, 8, 1, 1) < 4, FLAT, TEXTURE).requires_grad_()
    result = norm(features)
    torch.autograd.backward((result * TEXTURE).sum())
    assert torch.equal(result[:, :4], norm.bias[:4].view(1, 4, 1, 1).expand(1, 4, 6, 6))
    assert features.grad is not None
    assert not features.grad[:, :4].any()
    assert features.grad[:, 4:].any()


def test_normalisation_keeps_the_slightest_structure() -> None:
    faint = 0.5 + 1e-4 * TEXTURE
    expected = torch.nn.functional.instance_norm(faint.double()).float()
    torch.testing.assert_close(InstanceNorm(8)(faint), expected, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("padding", ["reflect", "zero", "same"])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("tone", TONES)
def test_a_network_can_be_trained_on_flat_photos(tone: float, bf16: bool, padding: str) -> None:
    torch.manual_seed(1)
    config = TrainConfig(
        transformer=TransformerConfig.from_dict({"width": 8, "blocks": 5, "padding": padding}),
        batch_size=2,
        size_px=32,
        tv_weight=1.0,
        stability_weight=1.0,
        shift_weight=1.0,
    )
    net = TransformerNet(config.transformer)
    objective = PerceptualObjective(config, net, load_loss_network(config.layers), torch.rand(1, 3, 32, 32))
    # One photo is flat, the other one is not.
    photos = torch.stack([torch.full((3, 32, 32), tone), torch.rand(3, 32, 32)])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        terms = objective(photos, 0.01 * torch.randn_like(photos), torch.tensor([1, 2]))
    torch.autograd.backward(terms.sum())
    assert terms.isfinite().all()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("tone", TONES)
@pytest.mark.parametrize("color", ["style", "luminance", "linear"])
def test_an_optimisation_of_a_flat_photo_stays_finite(color: str, tone: float) -> None:
    layers = {"relu1_1": 1.0}
    config = GatysConfig.from_dict(
        {"content": {"relu2_1": 1.0}, "gram": layers, "histogram": layers, "moments": layers, "mrf": {"relu2_1": 1.0}}
        | {
            "sliced": layers,
            "laplacian": {4: 1.0},
            "tv_weight": 1.0,
            "balance": True,
            "size_px": 32,
            "iterations": 3,
            "color": color,
        }
    )
    photo = torch.full((1, 3, 32, 32), tone)
    for style in (photo, torch.rand(1, 3, 32, 32)):
        result = optimize(config, content=photo, styles=[StyleSource(image=style)], device=torch.device("cpu"))
        assert result.isfinite().all()


def test_flat_styles_are_recoloured_to_finite_colours() -> None:
    flat, photo = torch.full((1, 3, 8, 8), 0.4), torch.rand(1, 3, 8, 8)
    for style, content in ((flat, photo), (photo, flat), (flat, flat)):
        assert match_colors(style, content).isfinite().all()
        assert match_luminance(style, content).isfinite().all()
