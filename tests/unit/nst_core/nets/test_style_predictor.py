"""Guesses of styles: how paintings are described, what becomes of a guess, files, and the predictor in the package."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from nst_core.errors import WeightsError
from nst_core.nets.families import joined, one_style
from nst_core.nets.feature_tiles import feature_tiles
from nst_core.nets.loss_network import load_loss_network
from nst_core.nets.style_predictor import (
    LAYERS,
    NUMBERS,
    StylePredictor,
    describe,
    digest_of_convolutions,
    dump_predictor,
    guessed,
    load_predictor,
    named,
    numbers_of,
)
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.weights import load_transformer, save_transformer
from nst_core.styles import families
from tests.unit.nst_core.nets.test_families import KINDS, equal, singles

pytestmark = pytest.mark.usefixtures("one_thread")


def family_of(config: TransformerConfig, *, identity: bool = True) -> TransformerNet:
    """Return a network of three styles, the last of which is the identity, or of three paintings."""
    net = joined(singles(config))
    family = TransformerNet(replace(net.config, identity=identity))
    family.load_state_dict(net.state_dict())
    return family.eval().requires_grad_(False)


def predictor_for(net: TransformerNet, *, seed: int = 0) -> StylePredictor:
    torch.manual_seed(seed)
    predictor = StylePredictor(numbers_of(net).shape[1])
    predictor.deviation.fill_(1.0)
    predictor.usual.fill_(1.0)
    predictor.spread.fill_(1.0)
    torch.nn.init.normal_(predictor.last.weight, std=0.1)
    predictor.convolutions.copy_(digest_of_convolutions(net))
    return predictor.eval()


def stripes(height: int = 160, width: int = 224, *, period_px: int = 16) -> Tensor:
    """Return oblique stripes in red and blue."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    red = ((rows + columns) % period_px < period_px // 2).float()
    return torch.stack([0.1 + 0.8 * red, 0.15 * torch.ones_like(red), 0.9 - 0.8 * red])[None]


def test_a_painting_is_described_by_means_and_deviations_of_its_features() -> None:
    network = load_loss_network(LAYERS)
    with torch.no_grad():
        features = network(stripes())
        described = describe([features])
    wanted = []
    for layer in LAYERS:
        values = features[layer].flatten(2)[0]
        wanted += [values.mean(1), values.std(1, correction=0)]
    torch.testing.assert_close(described, torch.log1p(10 * torch.cat(wanted)), rtol=1e-4, atol=1e-4)
    assert described.shape == (NUMBERS,)


def test_tiles_of_a_painting_describe_it_as_the_whole_does() -> None:
    network, painting = load_loss_network(LAYERS), stripes(100, 200)
    with torch.no_grad():
        whole = describe(feature_tiles(network, painting))
        tiles = list(feature_tiles(network, painting, tile_pixels=128 * 128))
    assert len(tiles) > 1
    torch.testing.assert_close(describe(tiles), whole, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("config", KINDS)
def test_numbers_of_styles_are_their_tensors(config: TransformerConfig) -> None:
    family = family_of(config, identity=False)
    numbers = numbers_of(family)
    for index in range(3):
        for name, tensor in named(numbers[index], family.config).items():
            assert torch.equal(tensor, one_style(family, index).get_parameter(name))


@pytest.mark.parametrize("identity", [False, True])
@pytest.mark.parametrize("config", KINDS)
def test_a_guess_is_a_style_of_the_family(config: TransformerConfig, identity: bool) -> None:
    family = family_of(config, identity=identity)
    predictor = predictor_for(family)
    net = guessed(predictor, family, stripes())
    assert net.config == family.config.newcomer
    assert torch.equal(digest_of_convolutions(net), digest_of_convolutions(family))
    described = describe(feature_tiles(load_loss_network(LAYERS), stripes()))
    torch.testing.assert_close(numbers_of(net)[0], predictor(described))
    if identity:
        assert equal(one_style(net, 1), one_style(family, 2))


def test_weights_of_ones_own_do_not_change_guesses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    family = family_of(KINDS[0])
    predictor = predictor_for(family)
    expected = numbers_of(guessed(predictor, family, stripes()))
    monkeypatch.setenv("NST_LOSS_WEIGHTS", str(tmp_path / "vgg19.safetensors"))
    with pytest.raises(WeightsError):
        load_loss_network(LAYERS)
    assert torch.equal(numbers_of(guessed(predictor, family, stripes())), expected)


def test_two_paintings_get_two_styles() -> None:
    family = family_of(KINDS[0])
    predictor = predictor_for(family)
    first, second = (numbers_of(guessed(predictor, family, each))[0] for each in (stripes(), 0.8 * stripes().flip(1)))
    assert (first - second).abs().max() > 0.01


def test_a_predictor_of_other_convolutions_is_refused() -> None:
    family = family_of(KINDS[0])
    predictor = predictor_for(family)
    predictor.convolutions[0] ^= 1
    assert not predictor.fits(family)
    with pytest.raises(WeightsError, match="other convolutions"):
        guessed(predictor, family, stripes())


def test_a_file_gives_the_same_predictor(tmp_path: Path) -> None:
    family = family_of(KINDS[0])
    predictor = predictor_for(family).half().float()
    (tmp_path / "p.safetensors").write_bytes(dump_predictor(predictor))
    loaded = load_predictor(tmp_path / "p.safetensors")
    assert equal(loaded, predictor)
    assert loaded.fits(family)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_transformer(TransformerNet(KINDS[0]), tmp_path / "style.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "style.safetensors").read_bytes()[:100])
    state = predictor_for(family_of(KINDS[0])).state_dict()
    save_file({**state, "usual": torch.tensor(1.0)}, tmp_path / "number.safetensors")
    for name in ("style", "cut", "missing", "number"):
        with pytest.raises(WeightsError):
            load_predictor(tmp_path / f"{name}.safetensors")


def strokes(colour: tuple[float, float, float], *, seed: int) -> Tensor:
    """Return soft marks, light and dark, of a colour."""
    grey = torch.rand(1, 1, 60, 84, generator=torch.Generator().manual_seed(seed))
    marks = torch.nn.functional.interpolate(grey, size=(420, 588), mode="bicubic").clamp(0, 1)
    return (torch.tensor(colour).view(1, 3, 1, 1) * (0.3 + marks)).clamp(0, 1)


def test_the_predictor_in_the_package_takes_colours_over_from_pictures_that_it_never_saw() -> None:
    family = families()["painters"]
    assert family.predictor is not None
    net, predictor = load_transformer(family.file, style=None), load_predictor(family.predictor)
    photo = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    photo = torch.nn.functional.interpolate(photo, size=(96, 96), mode="bilinear")

    def warmth(painting: Tensor) -> float:
        """Return how much more red than blue a photo has in the style of a painting."""
        with torch.no_grad():
            red, _, blue = one_style(guessed(predictor, net, painting), 0)(photo).clamp(0, 1).mean((0, 2, 3)).tolist()
        return float(red - blue)

    warm, cold = warmth(strokes((0.9, 0.5, 0.15), seed=2)), warmth(strokes((0.15, 0.35, 0.9), seed=2))
    assert warm > 0.15
    assert cold < -0.1
