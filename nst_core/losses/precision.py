"""The precision in which losses are computed."""

import torch
from torch import Tensor


def widen(values: Tensor) -> Tensor:
    """Return the values in float32, or unchanged if they are float64.

    Sums over all positions need more than bfloat16 has, and squares of activations exceed the range of float16.
    """
    return values if values.dtype == torch.float64 else values.float()
