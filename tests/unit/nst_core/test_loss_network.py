"""The loss network against torchvision's VGG16."""

from importlib import resources

import pytest
import torch
import torchvision  # type: ignore[import-untyped]
from safetensors.torch import load
from torch import Tensor, nn

from nst_core.errors import ConfigError, WeightsError
from nst_core.loss_network import (
    BUNDLED_WEIGHTS,
    MEAN,
    STD,
    LossNetwork,
    layer_names,
    load_loss_network,
    torchvision_index,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def bundled() -> dict[str, Tensor]:
    data = (resources.files("nst_core") / "assets" / BUNDLED_WEIGHTS).read_bytes()
    return {key: value.float() for key, value in load(data).items()}


@pytest.fixture(scope="module")
def reference() -> nn.Sequential:
    """Torchvision's layers, on no memory: only their kinds and shapes are asked for."""
    with torch.device("meta"):
        layers = torchvision.models.vgg16().features
    assert isinstance(layers, nn.Sequential)
    return layers


def test_layers_are_named_by_block_and_place() -> None:
    assert layer_names() == (
        [
            "relu1_1",
            "relu1_2",
            "relu2_1",
            "relu2_2",
            "relu3_1",
            "relu3_2",
            "relu3_3",
            "relu4_1",
            "relu4_2",
            "relu4_3",
            "relu5_1",
            "relu5_2",
            "relu5_3",
        ]
    )


def test_indices_are_those_of_the_convolutions_of_torchvision(reference: nn.Sequential) -> None:
    convolutions = [i for i, layer in enumerate(reference) if isinstance(layer, nn.Conv2d)]
    assert [torchvision_index(name) for name in layer_names()] == convolutions


def test_every_convolution_has_the_shape_of_torchvision(reference: nn.Sequential) -> None:
    with torch.device("meta"):
        network = LossNetwork(["relu5_3"])
    for name, conv in network.convs.items():
        other = reference[torchvision_index(name)]
        assert conv.get_parameter("weight").shape == other.get_parameter("weight").shape


def test_features_equal_those_of_torchvision_with_the_same_weights() -> None:
    names = layer_names()[: layer_names().index("relu4_3") + 1]
    network = load_loss_network(names)
    with torch.device("meta"):
        theirs = torchvision.models.vgg16().features[: torchvision_index("relu4_3") + 2]
    state = {key.removeprefix("features."): value for key, value in bundled().items()}
    theirs.load_state_dict({key: state[key] for key in theirs.state_dict()}, assign=True)
    image = torch.rand(1, 3, 37, 45)
    x = torchvision.transforms.functional.normalize(image, list(MEAN), list(STD))
    features = network(image)
    assert list(features) == names
    wanted = {torchvision_index(name) + 1: name for name in names}  # the ReLU after the convolution
    with torch.inference_mode():
        for index, layer in enumerate(theirs):
            x = layer(x).clone()
            if index in wanted:
                torch.testing.assert_close(features[wanted[index]], x, rtol=1e-4, atol=1e-2)
    assert features["relu4_3"].std() > 1  # on Caffe's scale, not torchvision's


def test_the_network_ends_at_the_deepest_layer_that_is_asked_for() -> None:
    network = LossNetwork(["relu2_1", "relu1_2"])
    assert list(network.convs) == ["relu1_1", "relu1_2", "relu2_1"]
    assert set(network(torch.rand(1, 3, 16, 16))) == {"relu2_1", "relu1_2"}


def test_the_network_is_frozen_but_passes_gradients_to_the_image() -> None:
    network = LossNetwork(["relu2_1"])
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    torch.autograd.backward(network(image)["relu2_1"].sum())
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


@pytest.mark.parametrize("layers", [[], ["relu6_1"], ["relu1_3"], ["conv1_1"], ["relu1_1", ""]])
def test_unknown_layers_are_refused(layers: list[str]) -> None:
    with pytest.raises(ConfigError, match="relu1_1 to relu5_3"):
        LossNetwork(layers)


def test_weights_that_lack_a_layer_are_refused_by_name() -> None:
    with pytest.raises(WeightsError, match=r"features\.24\.weight, which relu5_1 needs"):
        load_loss_network(["relu5_1"])
    with pytest.raises(WeightsError, match=r"features\.0\.weight"):
        LossNetwork(["relu1_1"]).load_vgg_weights({})
