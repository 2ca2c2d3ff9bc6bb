"""Random tensors for the tests of the losses."""

import torch
from torch import Tensor


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return normally distributed float64 values."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    """Return float64 values between 0 and 1."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def variable(values: Tensor) -> Tensor:
    """Return a copy that gradients flow into."""
    return values.clone().requires_grad_()
