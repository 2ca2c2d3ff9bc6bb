"""Torchvision's classifiers as loss networks, compared with the output of their own modules."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional as F

from nst_core.errors import ConfigError, WeightsError
from nst_core.nets.loss_network import LossNetwork, load_loss_network
from nst_core.nets.loss_weights import MEAN, STD

pytestmark = pytest.mark.usefixtures("one_thread")

#: Modules that an in-place ReLU follows are among them: what they computed must outlive it.
LAYERS = {
    "resnet18": ["relu", "layer1.0.bn1", "layer1.1.bn2", "layer2.0.downsample.0", "layer3"],
    "squeezenet1_1": ["features.0", "features.3.expand1x1", "features.4", "features.7"],
}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes all settings, empties the torch cache, and disables downloads."""
    monkeypatch.delenv("NST_LOSS_WEIGHTS", raising=False)
    monkeypatch.setenv("NST_LOSS_WEIGHTS_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


class Classifier:
    """A model of torchvision with random weights and statistics, and a file of them."""

    def __init__(self, name: str, folder: Path) -> None:
        torch.manual_seed(0)
        self.name = name
        self.model: nn.Module = getattr(torchvision.models, name)(weights=None).eval()
        for key, value in self.model.state_dict().items():
            if "running" in key:
                value.copy_(torch.rand(value.shape) + (0.5 if key.endswith("var") else -0.5))
        self.path = folder / f"{name}.pth"
        torch.save(self.model.state_dict(), self.path)

    def features(self, image: Tensor) -> dict[str, Tensor]:
        """Return the features that hooks on the modules see."""
        seen: dict[str, Tensor] = {}

        def keep(name: str, output: Tensor) -> None:
            seen.setdefault(name, output.clone())  # a module that is used twice: the first time

        modules = dict(self.model.named_modules())
        hooks = [
            modules[name].register_forward_hook(lambda *args, name=name: keep(name, args[-1]))
            for name in LAYERS[self.name]
        ]
        with torch.no_grad():
            self.model(torchvision.transforms.functional.normalize(image, list(MEAN), list(STD)))
        for hook in hooks:
            hook.remove()
        return seen


@pytest.fixture(scope="module", params=list(LAYERS))
def classifier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier(request.param, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return Classifier("resnet18", tmp_path_factory.mktemp("resnet"))


def test_features_equal_those_that_a_hook_sees(classifier: Classifier) -> None:
    image = torch.rand(2, 3, 64, 53)
    layers = LAYERS[classifier.name]
    features = load_loss_network(layers, name=classifier.name, weights=classifier.path)(image)
    assert features.keys() == set(layers)
    for name, expected in classifier.features(image).items():
        assert expected.std() > 0
        torch.testing.assert_close(features[name], expected, rtol=1e-5, atol=1e-5)


def test_a_scale_multiplies_every_feature(classifier: Classifier) -> None:
    image = torch.rand(1, 3, 48, 48)
    layers = LAYERS[classifier.name]
    features = load_loss_network(layers, name=classifier.name, weights=classifier.path, scale=0.25)(image)
    for name, expected in classifier.features(image).items():
        torch.testing.assert_close(features[name], 0.25 * expected, rtol=1e-5, atol=1e-5)


def test_unneeded_layers_are_left_out_of_the_network_and_not_required_in_the_file(
    resnet: Classifier, tmp_path: Path
) -> None:
    state = {k: v for k, v in resnet.model.state_dict().items() if k.startswith(("conv1", "bn1", "layer1"))}
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}  # as in old files
    torch.save(state, tmp_path / "resnet18.pth")
    network = load_loss_network(["layer1"], name="resnet18", weights=tmp_path)
    assert network.body.weights().keys() == state.keys()
    with pytest.raises(WeightsError, match=r"does not fit resnet18: it has no layer2\.0\.conv1\.weight"):
        load_loss_network(["layer2"], name="resnet18", weights=tmp_path)


def test_the_network_is_frozen_with_its_statistics(resnet: Classifier) -> None:
    network = load_loss_network(["layer1"], name="resnet18", weights=resnet.path)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    outer = nn.Sequential(network).train()
    image = torch.rand(2, 3, 32, 32, requires_grad=True)
    torch.autograd.backward(outer(image)["layer1"].sum())
    assert not any(module.training for module in network.modules())
    assert not any(p.requires_grad for p in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


def test_googlenet_gets_images_normalised_as_in_its_training() -> None:
    network = LossNetwork(["conv1.conv"], name="googlenet")
    image = torch.rand(1, 3, 32, 32)
    expected = F.conv2d((image - 0.5) / 0.5, network.body.weights()["conv1.conv.weight"], stride=2, padding=3)
    torch.testing.assert_close(network(image)["conv1.conv"], expected, rtol=1e-4, atol=1e-5)


def test_weights_are_looked_for_under_torchvisions_names(resnet: Classifier, tmp_path: Path) -> None:
    resnet.path.rename(resnet.path.with_name("resnet18-f37072fd.pth"))
    try:
        assert load_loss_network(["relu"], name="resnet18", weights=resnet.path.parent).layers == ("relu",)
    finally:
        resnet.path.with_name("resnet18-f37072fd.pth").rename(resnet.path)


def test_without_download_or_file_the_error_says_which_file_to_put_where() -> None:
    expected = r"resnet18 cannot be downloaded from http://127\.0\.0\.1:9/resnet18-f37072fd\.pth .* NST_LOSS_WEIGHTS"
    with pytest.raises(WeightsError, match=expected):
        load_loss_network(["relu"], name="resnet18")


@pytest.mark.parametrize(
    ("name", "near"), [("resnt18", "resnet18"), ("vgg18", "vgg16"), ("ResNet18", "resnet18"), ("", "there are")]
)
def test_an_unknown_network_is_refused_with_near_names(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=rf"There is no loss network '{name}' \(.*{near}"):
        load_loss_network(["relu1_1"], name=name)


@pytest.mark.parametrize(
    ("layer", "near"), [("layer5", "layer4"), ("layer1.0.bn3", r"layer1\.0\.bn2"), ("relu1_1", "there are|relu")]
)
def test_an_unknown_layer_is_refused_with_near_names(layer: str, near: str) -> None:
    with pytest.raises(ConfigError, match=rf"resnet18 has no layer '{layer}' \(.*({near})"):
        LossNetwork(["layer1", layer], name="resnet18")


def test_other_pooling_is_for_vgg_only() -> None:
    with pytest.raises(ConfigError, match="Only the VGG networks"):
        load_loss_network(["layer1"], name="resnet18", pooling="average")


def test_the_error_asks_for_torchvision_if_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    missing: dict[str, Any] = {name: None for name in sys.modules if name.split(".")[0] == "torchvision"}
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"pip install '\.\[classifiers\]'"):
        load_loss_network(["layer1"], name="resnet18")
    assert load_loss_network(["relu1_1"]).layers == ("relu1_1",)
