"""A network of ours from tensors that were stored under other names."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from nst_core.errors import ConfigError, WeightsError
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.transformer_config import TransformerConfig


def check_names(found: Iterable[str], expected: Iterable[str], *, origin: str, name: str) -> None:
    """Raise WeightsError unless a checkpoint has exactly the tensors of its network."""
    found, expected = set(found), set(expected)
    if found != expected:
        odd = min(found ^ expected)
        what = "has no" if odd in expected else "has an unknown"
        raise WeightsError(f"{name} is not a network of {origin}: it {what} tensor {odd}.")


def make_config(origin: str, name: str, **values: object) -> TransformerConfig:
    """Return a config; raise WeightsError if the checkpoint's shapes led to values that are not allowed."""
    try:
        return TransformerConfig.from_dict(values)
    except ConfigError as error:
        raise WeightsError(f"{name} is not a network of {origin}: {error}") from error


def assemble(
    config: TransformerConfig, tensors: Mapping[str, Tensor], *, sources: Mapping[str, str], origin: str, name: str
) -> TransformerNet:
    """Return the network of a config with these tensors, float32 on the CPU, in eval mode.

    `tensors` has our names, and `sources` the checkpoint's name of each, for error messages. Raises WeightsError if
    a shape does not fit, or a number is not finite. Nothing is copied before all shapes are seen to fit: those of a
    damaged file may ask for any amount of memory.
    """
    shapes = config.tensor_shapes()
    for key, shape in shapes.items():
        if tuple(tensors[key].shape) != shape or not tensors[key].is_floating_point():
            raise WeightsError(
                f"{name} is not a network of {origin}: {sources[key]} does not have the shape of its layer."
            )
    state = {}
    for key in shapes:
        state[key] = tensors[key].detach().to(torch.float32, copy=True).contiguous()
        if not state[key].isfinite().all():
            raise WeightsError(f"{name} cannot be used: {sources[key]} has values that are not finite.")
    with torch.device("meta"):
        net = TransformerNet(config)
    net.load_state_dict(state, assign=True)
    return net.eval().requires_grad_(False)
