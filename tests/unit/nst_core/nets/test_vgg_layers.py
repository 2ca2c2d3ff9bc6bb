"""Tests of nst_core.nets.vgg_layers."""

import pytest

from nst_core.errors import ConfigError
from nst_core.nets.vgg_layers import BLOCKS, CHANNELS, check_layer, layer_names


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


@pytest.mark.parametrize("name", BLOCKS)
def test_a_vgg_has_its_own_layers_and_no_other_ones(name: str) -> None:
    for layer in layer_names(name):
        check_layer(f"{name}_caffe", layer, field="content")
    for other in ("relu9_9", "relu1_9", "conv6_1", "layer1", "", 3, None):
        with pytest.raises(ConfigError, match=f"content has the layer {other!r}, which {name} does not have") as caught:
            check_layer(name, other, field="content")
        assert caught.value.field == "content"


def test_another_network_has_none_of_the_layers_of_a_vgg() -> None:
    check_layer("resnet18", "layer1.0.relu", field="gram")
    for layer in ("relu3_3", "conv5_4", "pool1", "", 3):
        with pytest.raises(ConfigError, match="which resnet18 does not have: its layers have other names"):
            check_layer("resnet18", layer, field="gram")
    check_layer("vgg99", "relu3_3", field="gram")  # the network is what is wrong
