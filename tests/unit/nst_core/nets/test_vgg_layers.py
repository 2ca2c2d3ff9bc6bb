"""Tests of nst_core.nets.vgg_layers."""

import pytest

from nst_core.nets.vgg_layers import BLOCKS, CHANNELS, layer_names


@pytest.mark.parametrize("name", BLOCKS)
def test_every_convolution_has_a_relu_and_every_block_a_pooling(name: str) -> None:
    names = layer_names(name)
    count = sum(BLOCKS[name])
    assert len(names) == len(set(names)) == 2 * count + len(BLOCKS[name])
    assert sum(each.startswith("conv") for each in names) == count
    assert [each for each in names if each.startswith("pool")] == ["pool1", "pool2", "pool3", "pool4", "pool5"]
    assert len(BLOCKS[name]) == len(CHANNELS)


def test_variants_have_the_layers_of_their_family() -> None:
    assert layer_names("vgg16_torchvision") == layer_names("vgg16")
    assert "relu3_4" in layer_names("vgg19_caffe")
    assert "relu3_4" not in layer_names("vgg16")
