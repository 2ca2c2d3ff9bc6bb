"""Tests of nst_core.upscaling.network."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from nst_core.errors import WeightsError
from nst_core.upscaling.network import (
    FACTORS,
    MARGIN,
    Factor,
    UpscaleNet,
    load_upscale_net,
    save_upscale_net,
    weights_file,
)
from tests.shipped import shipped_style

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("factor", FACTORS)
def test_at_first_the_network_enlarges_bicubically(factor: Factor) -> None:
    image = torch.rand(2, 3, 30, 26, generator=torch.Generator().manual_seed(0))
    cut = MARGIN * factor
    expected = F.interpolate(image, scale_factor=factor, mode="bicubic")[:, :, cut:-cut, cut:-cut]
    torch.testing.assert_close(UpscaleNet(factor)(image), expected)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_pixel_depends_on_nothing_beyond_the_margin(factor: Factor) -> None:
    torch.manual_seed(1)
    net = UpscaleNet(factor)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    image = torch.rand(1, 3, 2 * MARGIN + 1, 2 * MARGIN + 1, requires_grad=True)
    (gradient,) = torch.autograd.grad(net(image).sum(), image)
    assert gradient.abs().sum(1).min() > 0, "it reads all of the margin"
    larger = F.pad(image.detach(), (3, 3, 3, 3), value=0.5)
    changed = larger.clone()
    changed[:, :, :3] = 0.0
    middle = slice(3 * factor, 4 * factor)
    assert torch.equal(net(larger)[:, :, middle, middle], net(changed)[:, :, middle, middle])


@pytest.mark.parametrize("factor", FACTORS)
def test_weights_are_written_and_read(factor: Factor, tmp_path: Path) -> None:
    net = UpscaleNet(factor)
    torch.nn.init.normal_(net.last.weight, std=0.1)
    path = tmp_path / "net.safetensors"
    save_upscale_net(net, path)
    image = torch.rand(1, 3, 24, 24)
    read = load_upscale_net(factor, path)
    torch.testing.assert_close(read(image), net(image), atol=2e-3, rtol=0)
    assert not any(parameter.requires_grad for parameter in read.parameters())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="damaged"):
        load_upscale_net(factor, path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = weights_file(2)
    with pytest.raises(WeightsError, match=rf"{path} is not a network that .* 4 times: last.weight has the shape \[12"):
        load_upscale_net(4, path)
    path = shipped_style("udnie").place[0]
    with pytest.raises(WeightsError, match=r"is not a network that enlarges pictures 2 times: it has no first\.weight"):
        load_upscale_net(2, path)
    net = UpscaleNet(2)
    torch.nn.init.constant_(net.first.weight, torch.inf)
    save_upscale_net(net, tmp_path / "infinite.safetensors")
    with pytest.raises(WeightsError, match=r"first\.weight has values that are not finite"):
        load_upscale_net(2, tmp_path / "infinite.safetensors")


@pytest.mark.parametrize("factor", FACTORS)
def test_the_weights_in_the_package_are_those_of_a_training(factor: Factor) -> None:
    assert weights_file(factor).stat().st_size < 250_000
    assert load_upscale_net(factor).last.weight.abs().mean() > 1e-3
