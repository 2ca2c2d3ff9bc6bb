"""The VGG loss networks, compared with torchvision's."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import torchvision  # type: ignore[import-untyped]
from safetensors.torch import save_file
from torch import Tensor, nn

from nst_core.errors import ConfigError, WeightsError
from nst_core.nets.loss_network import LossNetwork, Pooling, load_loss_network
from nst_core.nets.loss_weights import MEAN, STD
from nst_core.nets.vgg_layers import layer_names

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NST_LOSS_WEIGHTS", "NST_LOSS_WEIGHTS_URL"):
        monkeypatch.delenv(name, raising=False)


def torchvision_layers(name: str) -> nn.Sequential:
    """Return the layers of torchvision's network, on no memory."""
    with torch.device("meta"):
        layers = getattr(torchvision.models, name)().features
    assert isinstance(layers, nn.Sequential)
    return layers


def named_layers(layers: nn.Sequential) -> dict[str, nn.Module]:
    """Return torchvision's layers by the names of the papers: a block ends with its pooling."""
    named: dict[str, nn.Module] = {}
    block, conv = 1, 0
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            conv += 1
            named[f"conv{block}_{conv}"] = layer
        elif isinstance(layer, nn.ReLU):
            named[f"relu{block}_{conv}"] = layer
        else:
            named[f"pool{block}"] = layer
            block, conv = block + 1, 0
    return named


def random_state(layers: nn.Sequential) -> dict[str, Tensor]:
    """Return weights that keep features at about deviation 1 from layer to layer."""
    torch.manual_seed(0)
    state = {}
    for key, value in layers.state_dict().items():
        deviation = (2 / value[0].numel()) ** 0.5 if value.dim() == 4 else 0.1
        state[f"features.{key}"] = torch.randn(value.shape) * deviation
    return state


class Reference:
    """Torchvision's network with random weights, and a file of them."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.layers = torchvision_layers(name)
        self.path = folder / f"{name}.safetensors"
        state = random_state(self.layers)
        save_file(state, self.path)
        self.layers.load_state_dict({k.removeprefix("features."): v for k, v in state.items()}, assign=True)

    def features(self, image: Tensor, pooling: str) -> dict[str, Tensor]:
        x = torchvision.transforms.functional.normalize(image, list(MEAN), list(STD))
        features = {}
        with torch.inference_mode():
            for name, layer in named_layers(self.layers).items():
                if isinstance(layer, nn.MaxPool2d) and pooling == "average":
                    layer = nn.AvgPool2d(layer.kernel_size, layer.stride)
                x = layer(x.clone())
                features[name] = x.clone()
        return features


@pytest.fixture(scope="module", params=["vgg16", "vgg19"])
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference(request.param, tmp_path_factory.mktemp("weights"))


#: Names under which torchvision's weights of each architecture are loaded.
TORCHVISION = {"vgg16": "vgg16_torchvision", "vgg19": "vgg19"}


def load_reference(reference: Reference, layers: list[str], pooling: Pooling = "max") -> LossNetwork:
    return load_loss_network(layers, name=TORCHVISION[reference.name], pooling=pooling, weights=reference.path)


def assert_features_equal(features: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name, value in features.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)


def test_layers_are_named_by_block_and_place() -> None:
    assert layer_names()[:8] == ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1", "relu2_1", "conv2_2"]
    assert layer_names()[-4:] == ["relu5_2", "conv5_3", "relu5_3", "pool5"]


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_layers_are_those_of_torchvision_in_their_order(name: str) -> None:
    assert layer_names(name) == list(named_layers(torchvision_layers(name)))


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_features_of_every_layer_equal_those_of_torchvision(reference: Reference, pooling: Pooling) -> None:
    names = layer_names(reference.name)
    image = torch.rand(1, 3, 32, 37)
    features = load_reference(reference, names, pooling)(image)
    assert list(features) == names
    expected = reference.features(image, pooling)
    assert all(value.std() > 0.01 for value in expected.values())
    assert_features_equal(features, expected)


def test_features_do_not_depend_on_other_requested_layers(reference: Reference) -> None:
    image = torch.rand(1, 3, 32, 32)
    expected = reference.features(image, "max")
    for layers in (["relu1_1", "pool1", "relu2_2"], ["conv1_1"], ["conv2_1", "relu1_2"], ["pool2", "relu2_1"]):
        features = load_reference(reference, layers)(image)
        assert features.keys() == set(layers)
        assert_features_equal(features, expected)


def test_the_network_ends_at_the_deepest_requested_layer() -> None:
    network = LossNetwork(["conv2_1", "relu1_2"])
    assert network.layers == ("conv2_1", "relu1_2")
    assert sum(p.numel() for p in network.parameters()) == (27 + 1) * 64 + (576 + 1) * 64 + (576 + 1) * 128
    assert set(network(torch.rand(1, 3, 16, 16))) == {"relu1_2", "conv2_1"}


def test_a_file_needs_only_the_requested_layers(tmp_path: Path) -> None:
    short = {
        key: value for key, value in random_state(torchvision_layers("vgg19")).items() if int(key.split(".")[1]) < 6
    }
    save_file(short, tmp_path / "short.safetensors")
    network = load_loss_network(["relu2_1", "relu1_1"], name="vgg19", weights=tmp_path / "short.safetensors")
    assert network(torch.rand(1, 3, 16, 16))["relu2_1"].shape == (1, 128, 8, 8)
    with pytest.raises(WeightsError, match=r"short\.safetensors does not fit vgg19: it has no features\.7\.weight"):
        load_loss_network(["conv2_2"], name="vgg19", weights=tmp_path / "short.safetensors")


def test_the_network_is_frozen_but_passes_gradients_to_the_image() -> None:
    network = LossNetwork(["conv2_1", "relu2_1"])
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    features = network(image)
    torch.autograd.backward(features["relu2_1"].sum() + features["conv2_1"].sum())
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


def test_a_network_compiles_without_graph_breaks() -> None:
    network = LossNetwork(["relu1_1", "conv2_1"]).to(memory_format=torch.channels_last)
    image = torch.rand(1, 3, 16, 16).to(memory_format=torch.channels_last)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    assert_features_equal(compiled(image), network(image))


def test_a_scale_multiplies_every_feature(reference: Reference) -> None:
    names = layer_names(reference.name)
    image = torch.rand(1, 3, 32, 32)
    scaled = load_loss_network(names, name=TORCHVISION[reference.name], weights=reference.path, scale=1 / 57.4)(image)
    expected = {name: value / 57.4 for name, value in reference.features(image, "max").items()}
    for name, value in scaled.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4 / 57.4)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_not_positive_is_refused(scale: float) -> None:
    with pytest.raises(ConfigError, match="positive"):
        load_loss_network(["relu1_1"], scale=scale)


@pytest.mark.parametrize("layer", ["relu6_1", "relu1_3", "conv3_4", "pool6", "relu1", "", "fc6"])
def test_unknown_layers_are_refused(layer: str) -> None:
    with pytest.raises(ConfigError, match=f"vgg16 has no layer '{layer}'"):
        LossNetwork(["relu1_1", layer])


def test_vgg19_has_layers_that_vgg16_lacks() -> None:
    assert LossNetwork(["conv3_4"], name="vgg19").layers == ("conv3_4",)


def test_a_network_without_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        LossNetwork([])


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(ConfigError, match="max or average, not 'median'"):
        load_loss_network(["relu1_1"], pooling="median")  # type: ignore[arg-type]


def test_the_bundled_network_is_of_caffes_scale_and_alive_to_its_last_layer() -> None:
    torch.manual_seed(0)
    features = load_loss_network(["relu1_2", "relu4_3", "relu5_3"])(torch.rand(1, 3, 64, 64))
    assert features["relu4_3"].std() > 1  # torchvision's is about 1 / 57 of this
    assert features["relu5_3"].shape == (1, 512, 4, 4)
    assert features["relu5_3"].isfinite().all()
    assert 0.001 < (features["relu5_3"] > 0).float().mean() < 0.5


def test_the_bundled_network_has_two_names() -> None:
    image = torch.rand(1, 3, 16, 16)
    a, b = (load_loss_network(["relu2_1"], name=name)(image)["relu2_1"] for name in ("vgg16", "vgg16_caffe"))
    assert torch.equal(a, b)


def test_loading_does_not_change_the_random_state() -> None:
    before = torch.get_rng_state()
    load_loss_network(["relu1_1"])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize(
    "layers", [["conv1_2", "conv2_1", "relu2_2", "pool2"], ["conv1_2", "pool1", "conv3_1"], ["relu3_1"]]
)
def test_features_are_the_same_for_a_picture_that_takes_a_gradient(layers: list[str], pooling: Pooling) -> None:
    network = load_loss_network(layers, pooling=pooling)
    image = torch.rand(2, 3, 37, 32, generator=torch.Generator().manual_seed(1))
    expected = network(image)
    features = network(image.clone().requires_grad_())
    assert features.keys() == expected.keys()
    for layer, values in expected.items():
        assert (features[layer] - values).norm() <= 1e-5 * values.norm()
        torch.testing.assert_close(network.target(image, layer), features[layer], rtol=0, atol=0)


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_gradients_are_those_of_float64(pooling: Pooling) -> None:
    layers = ["conv1_2", "conv2_1", "relu2_2", "conv3_1"]
    network = load_loss_network(layers, pooling=pooling)
    image = torch.rand(1, 3, 37, 32, generator=torch.Generator().manual_seed(1))

    def gradient(dtype: torch.dtype) -> torch.Tensor:
        x = image.to(dtype).requires_grad_()
        features = network.to(dtype)(x)
        loss = torch.stack([values.square().mean() for values in features.values()]).sum()
        return torch.autograd.grad(loss, x)[0]

    found, wanted = gradient(torch.float32), gradient(torch.float64)
    # A value near zero, or two that are nearly equal, may be on the other side in the other precision.
    assert (found - wanted).norm() <= 2e-3 * wanted.norm()
