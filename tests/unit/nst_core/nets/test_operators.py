"""The operators match torch's own functions, forward and backward, compiled or not."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nst_core.losses import gram
from nst_core.losses.gram import GramLoss
from nst_core.nets import operators
from nst_core.nets.operators import MaxPool, ReflectConv2d, _mirrored, double_size, max_pool, reflect_pad
from tests.unit.nst_core.losses.samples import normal, variable
from tests.unit.nst_core.nets.native_kit import called_kernels, needs_compiler, noise

__all__ = ["called_kernels"]  # a fixture

pytestmark = pytest.mark.usefixtures("one_thread")

FORMATS = (torch.contiguous_format, torch.channels_last)
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
#: Odd, even and the smallest sizes, one and several channels and pictures.
SHAPES = ((2, 3, 7, 9), (1, 4, 6, 8), (1, 1, 5, 6), (2, 3, 2, 3))

#: Each operator and torch's equivalent function.
PAIRS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "reflect_pad": (lambda x: reflect_pad(x, 1), lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect")),
    "reflect_pad_4": (
        lambda x: reflect_pad(x, min(4, x.shape[2] - 1)),
        lambda x: F.pad(x, (min(4, x.shape[2] - 1),) * 4, mode="reflect"),
    ),
    "double_size": (double_size, lambda x: F.interpolate(x, scale_factor=2, mode="nearest")),
    "max_pool": (max_pool, lambda x: F.max_pool2d(x, 2)),
}
each = pytest.mark.parametrize("name", PAIRS)


@each
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_gradients_and_memory_formats_are_those_of_torch(name: str, dtype: torch.dtype) -> None:
    own, theirs = PAIRS[name]
    for shape, memory_format in product(SHAPES, FORMATS):
        x = normal(*shape).to(dtype).contiguous(memory_format=memory_format)
        results = []
        for function in (own, theirs):
            given = variable(x)
            result = function(given)
            pull = normal(*result.shape, seed=1).to(dtype)
            (gradient,) = torch.autograd.grad(result, given, pull)
            results.append((result, gradient))
        (value, gradient), (expected, expected_gradient) = results
        assert torch.equal(value, expected)
        assert value.dtype == dtype
        assert value.stride() == expected.stride()
        assert torch.equal(gradient, expected_gradient)
        assert gradient.dtype == dtype
        assert gradient.is_contiguous(memory_format=torch.channels_last)


@each
def test_gradients_are_right(name: str) -> None:
    assert torch.autograd.gradcheck(PAIRS[name][0], variable(normal(1, 2, 5, 6)))


@each
def test_it_runs_in_inference_mode_and_under_autocast(name: str) -> None:
    own, theirs = PAIRS[name]
    x = normal(1, 3, 6, 7).float()
    with torch.inference_mode():
        assert torch.equal(own(x), theirs(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = x.bfloat16().requires_grad_()
        value = own(narrow)
    assert value.dtype == torch.bfloat16
    assert torch.equal(value, theirs(x.bfloat16()))
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert narrow.grad is not None
    assert narrow.grad.dtype == torch.bfloat16


def test_reflection_leaves_out_the_edge() -> None:
    row = torch.tensor([1.0, 2.0, 3.0]).expand(1, 1, 3, 3)
    assert reflect_pad(row, 2)[0, 0, 0].tolist() == [3, 2, 1, 2, 3, 2, 1]


def test_doubling_repeats_each_value_four_times() -> None:
    assert double_size(torch.tensor([[[[1.0, 2.0]]]]))[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]


def test_pooling_leaves_out_an_odd_last_row_and_column() -> None:
    values = torch.arange(15.0).reshape(1, 1, 3, 5)
    assert max_pool(values)[0, 0].tolist() == [[6, 8]]


def test_pooling_sends_the_gradient_only_to_the_largest_value() -> None:
    x = variable(torch.tensor([[[[1.0, 4.0], [3.0, 2.0]]]]))
    torch.autograd.backward(max_pool(x).sum())
    assert x.grad is not None
    assert x.grad[0, 0].tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (9, 1)])
def test_a_convolution_is_torchs_with_reflection_and_takes_its_weights(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    theirs = nn.Conv2d(3, 4, kernel, stride, padding=kernel // 2, padding_mode="reflect")
    own = ReflectConv2d(3, 4, kernel, stride)
    own.load_state_dict(theirs.state_dict())
    for size in ((12, 15), (9, 10)):
        x = torch.rand(2, 3, *size)
        torch.testing.assert_close(own(x), theirs(x))
    if stride == 1:
        assert own(x).shape[2:] == x.shape[2:]


@needs_compiler
@pytest.mark.parametrize("size", [(20, 14), (21, 14), (20, 15), (7, 9), (2, 2)])
@pytest.mark.parametrize("channels", [16, 48])
def test_pooling_by_kernels_is_torchs_to_the_bit(size: tuple[int, int], channels: int, called: set[str]) -> None:
    x = noise(2, channels, *size, seed=1).relu().contiguous(memory_format=torch.channels_last)  # with ties
    gradient = noise(2, channels, size[0] // 2, size[1] // 2, seed=2)
    ours, torchs = (x.clone().requires_grad_() for _ in range(2))
    y, expected = max_pool(ours), F.max_pool2d(torchs, 2)
    assert torch.equal(y, expected)
    y.backward(gradient)  # type: ignore[no-untyped-call]
    expected.backward(gradient)  # type: ignore[no-untyped-call]
    assert ours.grad is not None
    assert torchs.grad is not None
    assert torch.equal(ours.grad, torchs.grad)
    assert {"max_pool", "max_pool_gradient"} <= called


def test_a_pooling_layer_is_torchs_and_has_no_weights() -> None:
    x = torch.rand(1, 2, 7, 5)
    assert torch.equal(MaxPool()(x), nn.MaxPool2d(2)(x))
    assert not MaxPool().state_dict()


#: The operators with their arguments after the picture, which is 2 x 3 x 7 x 9.
OPERATORS: list[tuple[Any, tuple[Any, ...]]] = [
    (operators._reflect_pad, (2,)),
    (operators._reflect_pad, (0,)),
    (operators._double_size, ()),
    (operators._max_pool, ()),
    (gram._gram, (torch.full((1, 1, 1), 1 / 63),)),
    (gram._gram, (normal(2, 63, 1).abs().float(),)),
]
#: Their gradients, with the shape of the incoming gradient.
GRADIENTS: list[tuple[Any, tuple[int, ...], tuple[Any, ...]]] = [
    (operators._reflect_pad_backward, (2, 3, 11, 13), (2,)),
    (operators._double_size_backward, (2, 3, 14, 18), ()),
    (operators._max_pool_backward, (2, 3, 3, 4), (torch.zeros(2, 3, 3, 4, dtype=torch.int64),)),
    (gram._gram_backward, (2, 3, 3), (torch.full((1, 1, 1), 1 / 63),)),
]


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
def test_operators_declare_themselves_correctly_to_the_compiler(memory_format: torch.memory_format) -> None:
    # Checks the declared shapes, types and strides, and that the gradient does not depend on how the operator runs.
    x = normal(2, 3, 7, 9).float().contiguous(memory_format=memory_format)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"The \.grad attribute of a Tensor")  # torch's own check reads it
        for operator, rest in OPERATORS:
            torch.library.opcheck(operator, (variable(x), *rest))


@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_gradients_declare_themselves_correctly_to_the_compiler(
    dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    x = normal(2, 3, 7, 9).to(dtype).contiguous(memory_format=memory_format)
    for operator, shape, rest in GRADIENTS:
        gradient = normal(*shape, seed=1).to(torch.float32 if operator is gram._gram_backward else dtype)
        # Nothing needs the gradient of a gradient, so a part of the check does not apply.
        torch.library.opcheck(operator, (gradient, x, *rest), test_utils=("test_schema", "test_faketensor"))


class Everything(nn.Module):
    """All operators in one small network."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = ReflectConv2d(3, 4, 3)
        self.pool = MaxPool()
        self.loss = GramLoss(torch.zeros(1, 4, 4), normalization="hw")

    def forward(self, x: Tensor) -> Tensor:
        loss: Tensor = self.loss(double_size(self.pool(self.conv(x).relu())))
        return loss


def test_compiled_code_computes_the_same() -> None:
    module = Everything().to(memory_format=torch.channels_last)
    x = normal(2, 3, 9, 11).float().contiguous(memory_format=torch.channels_last)
    results = []
    for function in (module, torch.compile(module, fullgraph=True)):
        given = variable(x)
        loss = function(given)
        results.append((loss.detach(), *torch.autograd.grad(loss, [given, *module.parameters()])))
    for own, expected in zip(*results, strict=True):
        torch.testing.assert_close(own, expected)


def test_padding_in_channels_last_equals_that_of_torch() -> None:
    whole = torch.rand(2, 5, 9, 7).contiguous(memory_format=torch.channels_last)
    for picture, padding in product((whole, whole[:, :, :8, :6]), (1, 4)):
        result = _mirrored(_mirrored(picture, padding, 2), padding, 3)
        assert torch.equal(result, reflect_pad(picture, padding))
        assert result.is_contiguous(memory_format=torch.channels_last)


def test_without_gradients_the_compiler_is_not_loaded_and_the_values_are_the_same() -> None:
    x = normal(2, 3, 7, 9)
    for operator in (double_size, lambda x: reflect_pad(x, 2)):
        with torch.inference_mode():
            plain = operator(x)
        assert torch.equal(plain, operator(x))
    script = (
        "import sys, torch; from nst_core.nets.transformer import TransformerConfig, TransformerNet;"
        "net = TransformerNet(TransformerConfig(width=4, blocks=1));"
        "torch.inference_mode()(net)(torch.zeros(1, 3, 16, 16));"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
