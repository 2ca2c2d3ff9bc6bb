"""Networks of github.com/lengstrom/fast-style-transfer, as arrays of their TensorFlow variables.

Johnson's network with instance normalisation after every convolution, the last one too, zero padding as TensorFlow's
SAME, transposed convolutions and tanh(x) 150 + 127.5. It takes values from 0 to 255 with nothing subtracted. A side
that is no multiple of 4 grows to the next one. The photo's rows and columns are the last of the result: strides of 2
take the odd sample of an even side and the transposed convolutions put it there again, but of an odd side they take
the even one.

The variables are named in the order of the layers, three each: weights [height, width, in, out] (of a transposed
convolution [height, width, out, in]), shift, scale. His checkpoints also hold Adam's state, which is left out.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from nst_core.nets.transformer import TransformerNet
from nst_core.peers.assemble import assemble, check_names, make_config

ORIGIN = "lengstrom/fast-style-transfer"
_FIRST = "Variable"
#: Layers besides those of the residual blocks: three down, two up and the head.
_OUTER_LAYERS = 6
#: What TensorFlow's Adam keeps beside the variables: moments of each, powers of its betas, and the step.
_OPTIMIZER = ("beta1_power", "beta2_power", "global_step")


def knows(state: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have the names of such a network."""
    return _FIRST in state


def convert(variables: Mapping[str, Tensor], *, name: str) -> TransformerNet:
    """Return the network of the variables; raise WeightsError if they are another's. `name` begins messages."""
    variables = {key: value for key, value in variables.items() if "/Adam" not in key and key not in _OPTIMIZER}
    # Rounded, so that of a file with one variable too few or too many that one is named.
    blocks = max(0, round((len(variables) / 3 - _OUTER_LAYERS) / 2))
    width = variables[_FIRST].shape[-1] if variables[_FIRST].ndim else 0
    config = make_config(
        ORIGIN,
        name,
        width=width,
        blocks=blocks,
        upsample="transposed",
        padding="same",
        output="tanh",
        norm_eps=1e-3,
        head_norm=True,
        crop="start",
    )
    sources: dict[str, str] = {}
    for number, (conv, norm) in enumerate([*config.layers(), ("head", "head_norm")]):
        for part, ours in enumerate((f"{conv}.weight", f"{norm}.bias", f"{norm}.weight")):
            sources[ours] = _variable(3 * number + part)
    check_names(variables, sources.values(), origin=ORIGIN, name=name)
    tensors = {ours: variables[theirs] for ours, theirs in sources.items()}
    for ours, tensor in tensors.items():
        if tensor.ndim == 4:
            # To [out, in, height, width], and of a transposed convolution to [in, out, height, width], as torch has it.
            tensors[ours] = tensor.permute(3, 2, 0, 1)
    net = assemble(config, tensors, sources=sources, origin=ORIGIN, name=name)
    with torch.no_grad():
        net.down1.conv.weight.mul_(255)  # ours takes values from 0 to 1
    return net


def _variable(number: int) -> str:
    return f"Variable_{number}" if number else "Variable"
