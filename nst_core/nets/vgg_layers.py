"""The layers of the VGG networks by name. Never loads torch."""

from typing import Any

from nst_core.errors import ConfigError

#: Convolutions in each of the five blocks; a 2x2 pooling ends a block.
BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
#: Output channels of each block.
CHANNELS = (64, 128, 256, 512, 512)
#: Beginnings of the names of classifiers that have no layer with the name of a VGG's.
_OTHERS = ("densenet", "googlenet", "mobilenet", "resnet", "squeezenet")


def layer_names(name: str = "vgg16") -> list[str]:
    """Return the names of all layers of a VGG in order: conv1_1, relu1_1, conv1_2, relu1_2, pool1, conv2_1, ..., pool5.

    A convB_I is the convolution before its ReLU; what Gatys et al. call conv4_2 is relu4_2 here.
    """
    names = []
    for block, count in enumerate(BLOCKS[name.partition("_")[0]], 1):
        for i in range(1, count + 1):
            names += [f"conv{block}_{i}", f"relu{block}_{i}"]
        names.append(f"pool{block}")
    return names


def check_layer(network: str, layer: Any, *, field: str) -> None:
    """Raise ConfigError, with a config's field, if a loss network does not have a layer.

    Those of a network other than a VGG are known to torchvision alone, but many are known not to have a VGG's.
    """
    family = network.partition("_")[0]
    known = layer_names(family) if family in BLOCKS else []
    missing = [name for vgg in BLOCKS for name in layer_names(vgg)] if network.startswith(_OTHERS) else []
    if isinstance(layer, str) and (layer in known or (layer and not known and layer not in missing)):
        return
    its = "its layers have other names"
    if known:
        blocks = ", ".join(map(str, BLOCKS[family]))
        its = f"its layers are convB_I, reluB_I and poolB for blocks B of {blocks} convolutions I"
    raise ConfigError(f"{field} has the layer {layer!r}, which {network} does not have: {its}.", field=field)
