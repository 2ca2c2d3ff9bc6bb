"""Tests of nst_core.gatys.costs."""

from dataclasses import replace

from nst_core.gatys import costs
from nst_core.gatys.config import GatysConfig
from nst_core.nets.costs import BASE_BYTES


def test_an_optimization_needs_more_memory_with_a_longer_history_and_more_terms() -> None:
    plain = GatysConfig(gram={"relu1_1": 1.0}, optimizer="lbfgs", history=20)
    usual = costs.optimize_pixel_bytes(plain)
    assert costs.optimize_pixel_bytes(replace(plain, history=100)) == usual + 80 * 24
    layers = {"relu1_1": 1.0}
    for term in ("histogram", "moments", "sliced", "mrf"):
        more = GatysConfig.from_dict(plain.to_dict() | {term: layers})
        assert costs.optimize_pixel_bytes(more) > usual
    base = BASE_BYTES + costs.kernel_bytes(plain.network, plain.layers)
    assert costs.optimize_max_pixels(plain, base + 10**6 * usual) == 10**6
    assert costs.optimize_max_pixels(plain, base - 1) == 0


def test_the_loss_network_has_transformed_weights_up_to_its_deepest_layer() -> None:
    assert costs.kernel_bytes("vgg16", ["relu1_1"]) == 0
    pairs = 64 * 64 + 64 * 128 + 128 * 128
    assert costs.kernel_bytes("vgg16", ["relu1_1", "relu2_2"]) == pairs * 36 * 2 * 4
    assert costs.kernel_bytes("vgg19_caffe", ["pool4"]) > costs.kernel_bytes("vgg16", ["pool4"])
    assert costs.kernel_bytes("resnet18", ["layer1"]) == 0
