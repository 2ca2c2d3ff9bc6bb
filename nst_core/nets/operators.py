"""Layers for which the compiler makes slow code, as custom operators that it does not change.

As compiled code, the backward pass of each one takes 5 to 40 times as long on a CPU. They compute what torch's own
functions do, in the same memory format, and keep the type of their input under autocast too.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nst_core.nets import native
from nst_core.nets.convolution import trained_conv

_aten = torch.ops.aten


def reflect_pad(x: Tensor, padding: int) -> Tensor:
    """Return N x C x H x W with `padding` rows and columns mirrored around it on each side, the edge not repeated."""
    result: Tensor = (_reflect_pad if torch.compiler.is_compiling() else _eager_pad)(x, padding)
    return result


def double_size(x: Tensor) -> Tensor:
    """Return N x C x 2H x 2W of N x C x H x W, each value four times (nearest neighbour)."""
    result: Tensor = (_double_size if torch.compiler.is_compiling() else _eager_double)(x)
    return result


def max_pool(x: Tensor) -> Tensor:
    """Return the largest of each 2 x 2 values of N x C x H x W; an odd last row or column is left out."""
    if x.requires_grad and min(x.shape[2:]) > 1 and native.usable(x, x.shape[1]):
        largest: Tensor = _NativePool.apply(x)
        return largest
    result: Tensor = (_max_pool if torch.compiler.is_compiling() else _eager_pool)(x)[0]
    return result


class ReflectConv2d(nn.Conv2d):
    """Convolution of an odd kernel size on reflection padding that keeps the size, as `padding_mode="reflect"`."""

    @property
    def margin(self) -> int:
        """The rows and columns that are padded on each side."""
        return self.kernel_size[0] // 2

    def forward(self, input: Tensor, *, padded: bool = False) -> Tensor:  # N, C, H, W
        x = input if padded else reflect_pad(input, self.margin)
        if torch.is_grad_enabled() and (self.weight.requires_grad or x.requires_grad) and native.usable(x):
            return trained_conv(x, self.weight, self.bias, stride=self.stride[0])
        return super().forward(x)


class MaxPool(nn.Module):
    """`max_pool` as a layer."""

    def forward(self, x: Tensor) -> Tensor:  # N, C, H, W
        return max_pool(x)


class _NativePool(torch.autograd.Function):
    """`max_pool`; a byte for each result says which of its four values the gradient belongs to."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = _rows(x)
        n, c, h, w = x.shape
        y = torch.empty((n, c, h // 2, w // 2), memory_format=torch.channels_last)
        which = torch.empty_like(y, dtype=torch.int8)
        native.call("max_pool", x, y, which, n, h, w, c)
        ctx.save_for_backward(which)
        ctx.shape = x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (which,) = ctx.saved_tensors
        n, c, h, w = ctx.shape
        by_x = torch.empty(ctx.shape, memory_format=torch.channels_last)
        native.call("max_pool_gradient", _rows(gradient), which, by_x, n, h, w, c)
        return by_x


def _pad(x: Tensor, padding: int) -> Tensor:
    if x.is_cuda and x.stride(1) == 1:
        # Of maps in channels_last, cropped ones too, CUDA's own returns another memory format, from and to which the
        # layers around it would convert.
        return _mirrored(_mirrored(x, padding, 2), padding, 3)
    return F.pad(x, [padding] * 4, mode="reflect")


def _mirrored(x: Tensor, padding: int, axis: int) -> Tensor:
    """Return the values with `padding` of them mirrored at both ends of an axis, in the same memory format."""
    length = x.shape[axis]
    before, after = x.narrow(axis, 1, padding), x.narrow(axis, length - 1 - padding, padding)
    return torch.cat([before.flip(axis), x, after.flip(axis)], axis).contiguous(memory_format=torch.channels_last)


def _pad_backward(gradient: Tensor, x: Tensor, padding: int) -> Tensor:
    return _rows(_aten.reflection_pad2d_backward(gradient, x, [padding] * 4))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _double_backward(gradient: Tensor, x: Tensor) -> Tensor:
    return _rows(_aten.upsample_nearest2d_backward(gradient, gradient.shape[2:], x.shape, 2.0, 2.0))


def _pool(x: Tensor) -> tuple[Tensor, Tensor]:
    values, indices = _aten.max_pool2d_with_indices(x, [2, 2], [2, 2])
    return values, indices


def _pool_backward(gradient: Tensor, x: Tensor, indices: Tensor) -> Tensor:
    backward = _aten.max_pool2d_with_indices_backward
    return _rows(backward(gradient, x, [2, 2], [2, 2], [0, 0], [1, 1], False, indices))


def _rows(gradient: Tensor) -> Tensor:
    """Return a gradient in channels_last, whatever the format of the others: the compiler must know it beforehand."""
    return gradient.contiguous(memory_format=torch.channels_last)


def _without_autocast(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function in which autocast, such as that of padding to float32 on a CPU, changes no type."""

    @functools.wraps(function)
    def plain(x: Tensor, *others: Any) -> Any:
        with torch.autocast(x.device.type, enabled=False):
            return function(x, *others)

    return plain


#: Keeps what the gradient needs: context, inputs, output.
Keep = Callable[[Any, tuple[Any, ...], Any], None]
#: Returns the gradients of the inputs, given that of the result.
Differentiate = Callable[..., Any]


def uncompiled(function: Callable[..., Any], keep: Keep, differentiate: Differentiate) -> Callable[..., Any]:
    """Return a function with a gradient that is no operator.

    The first call of an operator loads torch's compiler, which takes two seconds and 100 MB.
    """

    class Uncompiled(torch.autograd.Function):
        @staticmethod
        def forward(*inputs: Any) -> Any:
            return function(*inputs)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            keep(ctx, inputs, output)

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, *gradients: Tensor) -> Any:
            return differentiate(ctx, *gradients)

    apply: Callable[..., Any] = Uncompiled.apply
    return apply


def _operator(name: str, function: Callable[..., Any]) -> Any:
    """Return a function as an operator; on tensors without data it gives the shape and format of its result."""
    operator = torch.library.custom_op(f"nst::{name}", function, mutates_args=())
    operator.register_fake(function)
    return operator


def _gradient_operator(name: str, function: Callable[..., Any]) -> Any:
    """Return the gradient of an operator as an operator."""
    operator = torch.library.custom_op(f"nst::{name}", function, mutates_args=())
    operator.register_fake(lambda gradient, x, *others: torch.empty_like(x, memory_format=torch.channels_last))
    return operator


_plain_pad, _plain_pad_backward = _without_autocast(_pad), _without_autocast(_pad_backward)
_plain_double, _plain_double_backward = _without_autocast(_double), _without_autocast(_double_backward)
_plain_pool, _plain_pool_backward = _without_autocast(_pool), _without_autocast(_pool_backward)
_reflect_pad = _operator("reflect_pad", _plain_pad)
_reflect_pad_backward = _gradient_operator("reflect_pad_backward", _plain_pad_backward)
_double_size = _operator("double_size", _plain_double)
_double_size_backward = _gradient_operator("double_size_backward", _plain_double_backward)
_max_pool = _operator("max_pool", _plain_pool)
_max_pool_backward = _gradient_operator("max_pool_backward", _plain_pool_backward)


def _keep_padding(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ctx.padding = inputs
    ctx.save_for_backward(x)


def _padding_gradient(backward: Callable[..., Tensor]) -> Differentiate:
    return lambda ctx, gradient: (backward(gradient, *ctx.saved_tensors, ctx.padding), None)


def _keep_input(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _keep_indices(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, output[1])
    ctx.mark_non_differentiable(output[1])


def _gradient(backward: Callable[..., Tensor]) -> Differentiate:
    return lambda ctx, gradient, *_: backward(gradient, *ctx.saved_tensors)


_reflect_pad.register_autograd(_padding_gradient(_reflect_pad_backward), setup_context=_keep_padding)
_double_size.register_autograd(_gradient(_double_size_backward), setup_context=_keep_input)
_max_pool.register_autograd(_gradient(_max_pool_backward), setup_context=_keep_indices)
_eager_pad = uncompiled(_plain_pad, _keep_padding, _padding_gradient(_plain_pad_backward))
_eager_double = uncompiled(_plain_double, _keep_input, _gradient(_plain_double_backward))
_eager_pool = uncompiled(_plain_pool, _keep_indices, _gradient(_plain_pool_backward))
