"""The palette that a style gets at the end: how near colours come to those of the painting, and for which styles."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from nst_core.nets.families import joined, one_style
from nst_core.nets.palettes import Palette
from nst_core.nets.tensors import to_tensor, to_uint8
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.training.palettes import fitted, with_fitted_palettes
from nst_core.training.pictures import stylized
from tests.unit.nst_core.training.kit import soft_picture

pytestmark = pytest.mark.usefixtures("one_thread")


def colours(seed: int, count: int = 4000) -> npt.NDArray[np.uint8]:
    """Return colours in three clouds."""
    random = np.random.default_rng(seed)
    middles = np.array([[40, 50, 90], [200, 180, 120], [150, 60, 50]])[random.integers(0, 3, count)]
    return (middles + random.normal(0, 18, (count, 3))).clip(0, 255).astype(np.uint8)


def quantiles(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    return np.asarray(np.quantile(values.astype(float), [0.05, 0.25, 0.5, 0.75, 0.95], axis=0), np.float64)


def changed(values: npt.NDArray[np.uint8], moves: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    palette = Palette(torch.from_numpy(moves / 255).flatten())
    pixels: npt.NDArray[np.uint8] = palette(torch.from_numpy(values).float()[None])[0].numpy()
    return pixels


def test_pale_colours_become_those_of_the_painting() -> None:
    painting = colours(1)
    pale = (0.6 * colours(2) + 45).astype(np.uint8)
    assert np.abs(quantiles(pale) - quantiles(painting)).max() > 30
    made = changed(pale, fitted(pale, painting))
    assert np.abs(quantiles(made) - quantiles(painting)).max() < 8


def test_colours_that_are_right_stay() -> None:
    painting = colours(3)
    assert np.abs(fitted(painting, painting)).max() < 2
    assert np.abs(changed(colours(4), fitted(colours(4), painting)).astype(int) - colours(4)).mean() < 3


def test_many_equal_colours_become_those_of_their_place() -> None:
    random = np.random.default_rng(9)
    grey = random.integers(40, 200, (4000, 1)).repeat(3, 1).astype(np.uint8)
    for clipped, paper in ((255, (228, 224, 212)), (0, (35, 30, 40))):
        drawn = np.where(random.random((4000, 1)) < 0.6, np.uint8(clipped), grey)
        painting = np.where(random.random((4000, 1)) < 0.6, np.array(paper, np.uint8), grey)
        made = changed(drawn, fitted(drawn, painting))
        assert np.abs(made[(drawn == clipped).all(1)].astype(int) - paper).max() <= 6


def test_equal_colours_give_equal_palettes_and_neighbours_stay_neighbours() -> None:
    pale, painting = (0.5 * colours(5) + 60).astype(np.uint8), colours(6)
    moves = fitted(pale, painting)
    assert np.array_equal(moves, fitted(pale, painting))
    table = moves.reshape(9, 9, 9, 3)
    for axis in range(3):  # nowhere do colours that differ by 32 levels come to differ by more than five times that
        assert np.abs(np.diff(table, axis=axis)).max() < 4 * 32


def test_a_network_that_paints_almost_one_colour_gets_the_mean_and_little_contrast() -> None:
    painting, noise = colours(7), np.random.default_rng(8).integers(-1, 2, (500, 3))
    for grey in (np.full((500, 3), 128, np.uint8), (128 + noise).astype(np.uint8)):
        made = changed(grey, fitted(grey, painting))
        assert np.abs(made.mean(0) - painting.mean(0)).max() < 3
        assert made.std(0).max() <= 4 * grey.std(0).max()


def network(config: TransformerConfig, seed: int) -> TransformerNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TransformerNet(config).eval().requires_grad_(False)


def test_each_painting_has_its_palette_and_the_identity_none() -> None:
    net = network(TransformerConfig(width=4, blocks=1), 0)
    family = joined([net, net, net])
    family.config = TransformerConfig(width=4, blocks=1, styles=3, identity=True)
    paintings = [to_tensor(np.array(soft_picture(seed))) for seed in (1, 2)]
    photos = torch.cat([to_tensor(np.array(soft_picture(seed, 48, 48))) for seed in range(4)])
    finished = with_fitted_palettes(family, paintings, photos)
    palettes = finished.get_buffer("palette")
    assert palettes.shape == (3, 2187)
    assert palettes[0].abs().max() > 0.01
    assert not torch.equal(palettes[0], palettes[1])
    assert not palettes[2].any()
    weaker = with_fitted_palettes(finished, paintings, photos, share=0.5)
    torch.testing.assert_close(weaker.get_buffer("palette"), palettes / 2)


def test_pictures_come_nearer_to_the_colours_of_the_painting() -> None:
    net = network(TransformerConfig(width=8, blocks=1), 1)
    net.head.weight.mul_(6)  # as a trained network, it does not paint almost one colour
    painting = to_tensor(np.array(soft_picture(3, 64, 64)))
    photos = torch.cat([to_tensor(np.array(soft_picture(seed, 64, 64))) for seed in range(10, 16)])
    finished = one_style(with_fitted_palettes(net, [painting], photos), 0)
    wanted = quantiles(to_uint8(painting)[0].numpy().reshape(-1, 3))
    before, after = (
        quantiles(np.concatenate([stylized(each, photo[None]).reshape(-1, 3) for photo in photos]))
        for each in (net, finished)
    )
    assert np.abs(after - wanted).max() < 0.3 * np.abs(before - wanted).max()
