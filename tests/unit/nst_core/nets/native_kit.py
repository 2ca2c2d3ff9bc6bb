"""Comparisons of the kernels in C with torch."""

import pytest
import torch
from torch import Tensor, nn

from nst_core.nets import native

needs_compiler = pytest.mark.skipif(native.library() is None, reason="there is no C compiler")


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def computed(layer: nn.Module, x: Tensor, dtype: torch.dtype, **options: bool | Tensor) -> list[Tensor]:
    """Return the result of a layer and the gradients by its input and its parameters; only float32 is native."""
    layer = layer.to(dtype)
    x = x.to(dtype).requires_grad_()
    y = layer(x, **options)
    inputs = [x, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    return [y.detach(), *torch.autograd.grad(y, inputs, noise(*y.shape, seed=9).to(dtype))]


def assert_native_and_near(
    layer: nn.Module,
    x: Tensor,
    kernels: set[str],
    called: set[str],
    *,
    integers: bool = False,
    **options: bool | Tensor,
) -> None:
    """Compare with torch in float64, and check that the kernels really ran."""
    with native.integers(integers):
        ours = computed(layer, x, torch.float32, **options)
    assert kernels <= called
    # Other sizes of kernels, and other strides, have floats always.
    assert ("to_integers" in called) is (
        integers and bool(called & {"winograd", "convolve_to_picture", "convolve_photo"})
    )
    for value, wanted in zip(ours, computed(layer, x, torch.float64, **options), strict=True):
        assert value.dtype == torch.float32
        assert (value - wanted).norm() <= (6e-3 if integers else 1e-5) * wanted.norm()


@pytest.fixture(name="called")
def called_kernels(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the kernels that ran."""
    names: set[str] = set()
    run = native.call

    def noted(name: str, *arguments: Tensor | int | float | None) -> None:
        names.add(name)
        run(name, *arguments)

    monkeypatch.setattr(native, "call", noted)
    return names
