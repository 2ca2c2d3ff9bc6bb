"""Weights of loss networks: order of sources, downloads from a real server, Caffe files, damaged files."""

import pickle
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from threading import Thread

import pytest
import torch
from safetensors.torch import load, save_file
from torch import Tensor
from torch.nn import functional as F

from nst_core.errors import ConfigError, WeightsError
from nst_core.nets.loss_network import LossNetwork, load_loss_network
from nst_core.nets.loss_weights import CAFFE_MEAN, MEAN, STD, VGG_SOURCES, WeightsSource, load_weights, modern_name
from nst_core.settings import LossWeightsSettings

pytestmark = pytest.mark.usefixtures("one_thread")

#: An address that refuses every connection.
NOWHERE = "http://127.0.0.1:9/models"
SHAPES = {"features.0.weight": torch.Size([64, 3, 3, 3]), "features.0.bias": torch.Size([64])}


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes all settings, empties the torch cache, and disables downloads."""
    monkeypatch.delenv("NST_LOSS_WEIGHTS", raising=False)
    monkeypatch.setenv("NST_LOSS_WEIGHTS_URL", NOWHERE)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def state(value: float = 0.0) -> dict[str, Tensor]:
    """Return random weights of conv1_1 with the scale for normalised input or for Caffe's input."""
    torch.manual_seed(0)
    return {"features.0.weight": torch.randn(64, 3, 3, 3) * 0.1 + value, "features.0.bias": torch.randn(64)}


def first_weight(network: LossNetwork) -> Tensor:
    return network.body.weights()["features.0.weight"]


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and writes no log."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served at the address of the official files."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("NST_LOSS_WEIGHTS_URL", f"http://127.0.0.1:{server.server_port}/")
        yield folder
        server.shutdown()
        thread.join()


# Where weights come from


def test_the_argument_overrides_the_setting_and_the_setting_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("given", "set"):
        (tmp_path / name).mkdir()
    save_file(state(0.5), tmp_path / "given" / "vgg16_caffe.safetensors")
    save_file(state(-0.5), tmp_path / "set" / "vgg16_caffe.safetensors")
    bundled = load_loss_network(["relu1_1"])
    monkeypatch.setenv("NST_LOSS_WEIGHTS", str(tmp_path / "set"))
    configured = load_loss_network(["relu1_1"])
    given = load_loss_network(["relu1_1"], weights=tmp_path / "given")
    assert first_weight(given).mean() > 20
    assert first_weight(configured).mean() < -20
    assert first_weight(bundled).mean().abs() < 1


def test_a_single_file_may_be_given_or_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.safetensors"
    save_file(state(), path)
    given = load_loss_network(["relu1_1"], name="vgg19", weights=path)
    monkeypatch.setenv("NST_LOSS_WEIGHTS", str(path))
    configured = load_loss_network(["relu1_1"], name="vgg19")
    assert torch.equal(first_weight(given), state()["features.0.weight"])
    assert torch.equal(first_weight(configured), first_weight(given))


def test_a_folder_in_the_setting_need_not_have_every_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_LOSS_WEIGHTS", str(tmp_path))
    assert first_weight(load_loss_network(["relu1_1"])).abs().max() > 30


def test_an_empty_setting_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_LOSS_WEIGHTS", "")
    assert LossWeightsSettings().loss_weights is None


def test_a_given_folder_must_have_the_network(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no weights of vgg16: put vgg16-00b39a1b\.pth or"):
        load_loss_network(["relu1_1"], weights=tmp_path)


def test_a_missing_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("none.safetensors", "none.pth"):
        with pytest.raises(WeightsError, match=rf"{name} cannot be read: No such file"):
            load_loss_network(["relu1_1"], weights=tmp_path / name)
    monkeypatch.setenv("NST_LOSS_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match="nowhere cannot be read"):
        load_loss_network(["relu1_1"])


def test_a_file_with_the_name_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "vgg16-397923af.pth")
    with pytest.raises(WeightsError, match="holds the weights of vgg16_torchvision, not of vgg16"):
        load_loss_network(["relu1_1"], weights=tmp_path / "vgg16-397923af.pth")


# The package's files


def bundled(name: str) -> dict[str, Tensor]:
    return load((resources.files("nst_core") / "assets" / name).read_bytes())


def test_the_two_bundled_files_are_one_network(tmp_path: Path) -> None:
    first, second = (bundled(name) for name in VGG_SOURCES["vgg16"].bundled)
    assert not first.keys() & second.keys()
    save_file({**first, **second}, tmp_path / "whole.safetensors")
    layers = ["relu1_1", "relu4_3", "relu5_3"]
    image = torch.rand(1, 3, 32, 32)
    ours, whole = (
        load_loss_network(layers)(image),
        load_loss_network(layers, weights=tmp_path / "whole.safetensors")(image),
    )
    assert all(torch.equal(ours[layer], whole[layer]) for layer in layers)


def test_the_last_block_is_read_only_if_it_is_needed() -> None:
    source = WeightsSource(network="vgg16", files=(), bundled=(VGG_SOURCES["vgg16"].bundled[0], "absent.safetensors"))
    settings = LossWeightsSettings()
    loaded = load_weights(source, {"features.21.bias": torch.Size([512])}, weights=None, settings=settings)
    assert loaded.state.keys() == {"features.21.bias"}
    with pytest.raises(WeightsError, match=r"absent\.safetensors cannot be read"):
        load_weights(source, {"features.24.bias": torch.Size([512])}, weights=None, settings=settings)


# Downloads


def official(folder: Path) -> WeightsSource:
    """Return a source whose official file is in `folder`, named by its checksum like torchvision's files."""
    torch.save(state(), folder / "part")
    digest = sha256((folder / "part").read_bytes()).hexdigest()
    name = f"tiny-{digest[:8]}.pth"
    (folder / "part").rename(folder / name)
    return WeightsSource(network="tiny", files=(name,), official=name)


def test_an_official_file_is_downloaded_once_into_the_cache_of_torch(
    mirror: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = official(mirror)
    loaded = load_weights(source, SHAPES, weights=None, settings=LossWeightsSettings())
    assert torch.equal(loaded.state["features.0.weight"], state()["features.0.weight"])
    assert [p.name for p in (tmp_path / "torch/hub/checkpoints").iterdir()] == [source.official]
    elsewhere = LossWeightsSettings(loss_weights_url=NOWHERE)
    again = load_weights(source, SHAPES, weights=None, settings=elsewhere)
    assert torch.equal(again.state["features.0.bias"], loaded.state["features.0.bias"])
    assert capfd.readouterr().out == ""


def test_a_download_with_a_wrong_checksum_is_refused_and_not_kept(mirror: Path, tmp_path: Path) -> None:
    torch.save(state(), mirror / "vgg19-dcbb9e9d.pth")
    with pytest.raises(WeightsError, match=r'vgg19-dcbb9e9d\.pth has the wrong checksum.*expected "dcbb9e9d"'):
        load_loss_network(["relu1_1"], name="vgg19")
    assert list((tmp_path / "torch/hub/checkpoints").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "file"), [("vgg19", r"vgg19-dcbb9e9d\.pth"), ("vgg16_torchvision", r"vgg16-397923af\.pth")]
)
def test_without_download_or_file_the_error_says_which_file_to_put_where(name: str, file: str) -> None:
    with pytest.raises(WeightsError, match=rf"{name} cannot be downloaded .*: put {file} or .* set NST_LOSS_WEIGHTS"):
        load_loss_network(["relu1_1"], name=name)


def test_a_file_missing_on_the_server_is_an_error_too(mirror: Path) -> None:
    with pytest.raises(WeightsError, match="404"):
        load_loss_network(["relu1_1"], name="vgg19")


def test_an_invalid_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_LOSS_WEIGHTS_URL", "nonsense")
    with pytest.raises(ConfigError, match=r"NST_LOSS_WEIGHTS_URL .*, not 'nonsense'"):
        load_loss_network(["relu1_1"], name="vgg19")


def test_a_network_without_an_official_file_asks_for_one() -> None:
    with pytest.raises(WeightsError, match=r"vgg19_caffe are not on this machine: put vgg19-d01eb7cb\.pth"):
        load_loss_network(["relu1_1"], name="vgg19_caffe")


# Caffe's files


@pytest.mark.parametrize(("name", "file"), [("vgg16", "vgg16-00b39a1b.pth"), ("vgg19_caffe", "vgg19-d01eb7cb.pth")])
def test_caffes_files_give_the_features_of_caffes_input(name: str, file: str, tmp_path: Path) -> None:
    weights = state()
    torch.save(weights, tmp_path / file)
    image = torch.rand(2, 3, 9, 11)
    bgr = 255 * image.flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    expected = F.conv2d(bgr, weights["features.0.weight"], weights["features.0.bias"], padding=1)
    features = load_loss_network(["conv1_1"], name=name, weights=tmp_path / file)(image)["conv1_1"]
    assert expected.std() > 30
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-3)  # at the borders too


def test_an_already_folded_caffe_file_is_unchanged(tmp_path: Path) -> None:
    folded = {**state(), "features.0.weight": state()["features.0.weight"] * 57}
    save_file(folded, tmp_path / "folded.safetensors")
    network = load_loss_network(["conv1_1"], name="vgg19_caffe", weights=tmp_path / "folded.safetensors")
    assert torch.equal(first_weight(network), folded["features.0.weight"])
    assert network.mean.flatten().tolist() == pytest.approx(MEAN)


def test_a_folded_network_normalises_with_caffes_mean(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "raw.safetensors")
    network = load_loss_network(["conv1_1"], name="vgg19_caffe", weights=tmp_path / "raw.safetensors")
    assert network.mean.flatten().tolist() == pytest.approx(CAFFE_MEAN)
    assert network.std.flatten().tolist() == pytest.approx(STD)


# Files, good and bad


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "half"])
def test_every_kind_of_file_gives_the_same_weights(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("w.pth" if kind in ("zip", "legacy") else "w.safetensors")
    whole = {**state(), "classifier.0.weight": torch.zeros(3)}
    if kind in ("zip", "legacy"):
        torch.save(whole, path, _use_new_zipfile_serialization=kind == "zip")
    else:
        save_file({key: value.half() if kind == "half" else value for key, value in whole.items()}, path)
    weight = first_weight(load_loss_network(["relu1_1"], name="vgg19", weights=path))
    assert weight.dtype == torch.float32
    tolerance = 1e-3 if kind == "half" else 0
    torch.testing.assert_close(weight, state()["features.0.weight"], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kept", [0, 1, 20, 3000, 7200])
def test_a_truncated_file_is_refused(suffix: str, kept: int, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    torch.save(state(), path) if suffix == ".pth" else save_file(state(), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=rf"w{suffix} is damaged or not a weights file"):
        load_loss_network(["relu1_1"], name="vgg19", weights=path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".txt"])
@pytest.mark.parametrize("data", [b"hello", b"\0" * 100, b"\xff" * 100, b"PK\3\4" + bytes(100), b"<html>no</html>"])
def test_a_file_that_is_not_weights_is_refused(suffix: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / f"w{suffix}").write_bytes(data)
    with pytest.raises(WeightsError, match="is damaged or not a weights file"):
        load_loss_network(["relu1_1"], name="vgg19", weights=tmp_path / f"w{suffix}")


@pytest.mark.parametrize("content", [[torch.zeros(3)], torch.zeros(3), {1: torch.zeros(3)}, 7, None])
def test_a_file_of_something_else_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="is damaged or not a weights file"):
        load_loss_network(["relu1_1"], name="vgg19", weights=tmp_path / "w.pth")


class Evil:
    """An object that writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(pickle.dumps(Evil(tmp_path / "touched")))
    torch.save({**state(), "more": Evil(tmp_path / "touched")}, tmp_path / "v.pth")
    for name in ("w.pth", "v.pth"):
        with pytest.raises(WeightsError, match="is damaged or not a weights file"):
            load_loss_network(["relu1_1"], name="vgg19", weights=tmp_path / name)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.randn(64, 3, 7, 7), r"features\.0\.weight has the shape \[64, 3, 7, 7\], not \[64, 3, 3, 3\]"),
        (torch.zeros(64, 3, 3, 3, dtype=torch.int64), "is not a tensor of floating-point numbers"),
        (torch.full((64, 3, 3, 3), torch.nan), "values that are not finite"),
        ("weights", "is not a tensor"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(bad: object, message: str, tmp_path: Path) -> None:
    torch.save({**state(), "features.0.weight": bad}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=f"does not fit vgg19: .*{message}"):
        load_loss_network(["relu1_1"], name="vgg19", weights=tmp_path / "w.pth")


def test_tensors_of_old_files_get_their_current_names() -> None:
    old = "features.denseblock1.denselayer2.norm.1.running_mean"
    assert modern_name(old) == "features.denseblock1.denselayer2.norm1.running_mean"
    assert modern_name("features.denseblock1.denselayer2.conv.2.weight").endswith("denselayer2.conv2.weight")
    assert modern_name("layer1.0.conv1.weight") == "layer1.0.conv1.weight"
