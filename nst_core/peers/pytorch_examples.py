"""Networks of the fast neural style example of PyTorch (github.com/pytorch/examples, fast_neural_style).

Johnson's network with instance normalisation, reflection padding before every convolution, nearest-neighbour
upsampling and a linear last layer. It takes and gives values from 0 to 255 with nothing subtracted. A side that is no
multiple of 4 grows to the next one; the photo's rows and columns are the first of the result.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from nst_core.nets.transformer import TransformerNet
from nst_core.peers.assemble import assemble, check_names, make_config

ORIGIN = "pytorch/examples"
_FIRST = "conv1.conv2d.weight"
#: A residual block has a `conv1.conv2d.weight` of its own, but none of these.
_BESIDE = ("conv3.conv2d.weight", "deconv3.conv2d.weight", "in3.weight")
# Instance normalisation of PyTorch before 0.4 stored running statistics that the network never used.
_UNUSED = re.compile(r"(.+\.)?in\d\.(running_mean|running_var|num_batches_tracked)")


def knows(state: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have the names of such a network."""
    return _FIRST in state and any(key in state for key in _BESIDE)


def convert(state: Mapping[str, Tensor], *, name: str) -> TransformerNet:
    """Return the network of a state dict; raise WeightsError if it is another's. `name` begins error messages."""
    net = load(state, origin=ORIGIN, name=name)
    with torch.no_grad():
        # Theirs is y(255 x), and ours 0.5 + y(x) on the unit range.
        net.down1.conv.weight.mul_(255)
        net.head.weight.div_(255)
        net.head.get_parameter("bias").div_(255).sub_(0.5)
    return net


def load(state: Mapping[str, Tensor], *, origin: str, name: str) -> TransformerNet:
    """Return a network with the tensors of a state dict as they are, on the scale of its author."""
    blocks = sum(key.startswith("res") and key.endswith(".conv1.conv2d.weight") for key in state)
    width = state[_FIRST].shape[0] if state[_FIRST].ndim else 0
    config = make_config(origin, name, width=width, blocks=blocks, crop="end")
    sources = _sources(blocks)
    # The instance normalisation that follows takes the mean, and a bias with it, out again.
    cancelled = {key.removesuffix("weight") + "bias" for key in sources.values() if key.endswith("conv2d.weight")}
    cancelled.remove(sources["head.bias"])
    stored = [key for key in state if not _UNUSED.fullmatch(key)]
    check_names(stored, {*sources.values(), *cancelled}, origin=origin, name=name)
    tensors = {ours: state[theirs] for ours, theirs in sources.items()}
    return assemble(config, tensors, sources=sources, origin=origin, name=name)


def _sources(blocks: int) -> dict[str, str]:
    """Return their name of each of our tensors."""
    layers = {
        "down1": ("conv1", "in1"),
        "down2": ("conv2", "in2"),
        "down3": ("conv3", "in3"),
        "up1": ("deconv1", "in4"),
        "up2": ("deconv2", "in5"),
    }
    sources = {}
    for ours, (conv, norm) in layers.items():
        sources[f"{ours}.conv.weight"] = f"{conv}.conv2d.weight"
        sources |= {f"{ours}.norm.{part}": f"{norm}.{part}" for part in ("weight", "bias")}
    for block in range(blocks):
        for number in (1, 2):
            ours, theirs = f"residuals.{block}", f"res{block + 1}"
            sources[f"{ours}.conv{number}.weight"] = f"{theirs}.conv{number}.conv2d.weight"
            sources |= {f"{ours}.norm{number}.{part}": f"{theirs}.in{number}.{part}" for part in ("weight", "bias")}
    return sources | {f"head.{part}": f"deconv3.conv2d.{part}" for part in ("weight", "bias")}
