"""Networks of github.com/gordicaleksa/pytorch-neural-style-johnson.

The layers are those of pytorch/examples; the last three are called up1, up2 and up3, and the first two of these keep
their convolution one level deeper. It takes and gives values that are normalised by ImageNet's mean and deviation.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from nst_core.nets.transformer import TransformerNet
from nst_core.peers import pytorch_examples

ORIGIN = "gordicaleksa/pytorch-neural-style-johnson"
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_UP = re.compile(r"up(\d)\.conv2d\.(?:conv2d\.)?(weight|bias)")


def knows(state: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have the names of such a network."""
    return "up3.conv2d.weight" in state and pytorch_examples.knows(state)


def convert(state: Mapping[str, Tensor], *, name: str) -> TransformerNet:
    """Return the network of a state dict; raise WeightsError if it is another's. `name` begins error messages."""
    renamed = {_UP.sub(r"deconv\1.conv2d.\2", key): value for key, value in state.items()}
    net = pytorch_examples.load(renamed, origin=ORIGIN, name=name)
    mean, deviation = torch.tensor(_MEAN), torch.tensor(_DEVIATION)
    with torch.no_grad():
        # Theirs is m + d y((x - m) / d), and ours 0.5 + y(x). What is subtracted from x adds the same to every pixel
        # of the first convolution, and the normalisation behind it takes that out.
        net.down1.conv.weight.div_(deviation.view(1, 3, 1, 1))
        net.head.weight.mul_(deviation.view(3, 1, 1, 1))
        net.head.get_parameter("bias").mul_(deviation).add_(mean).sub_(0.5)
    return net
