"""Convolutions of float32 maps on CPUs that are faster than torch's own; without a compiler, they are torch's own.

Those of 3 x 3 and stride 1 use Winograd's algorithm: F(4 x 4, 3 x 3) of Lavin & Gray 2016, "Fast Algorithms for
Convolutional Neural Networks", takes a quarter of the products. Results differ from torch's by rounding alone: about
1e-6 of their size, where torch's own have 3e-7; in a `with native.integers()` they multiply 16-bit integers instead of
floats. Gradients by the input are such convolutions too, and gradients by the kernels are the adjoint. Other sizes have
a faster gradient by the kernels.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from nst_core.nets import native
from nst_core.nets.packed import COLUMNS, Packed, photo_kernels, picture_kernels, winograd_kernels


class FrozenConv2d(nn.Conv2d):
    """A convolution of 3 x 3 with zero padding that keeps the size; its weights get no gradient.

    It is torch's own unless it is told to be `fast`.
    """

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 3, padding=1)
        self._kernels: _Kernels | None = None

    def forward(
        self, input: Tensor, *, rectify: bool = False, relu: bool = False, fast: bool = False
    ) -> Tensor:  # N, C, H, W
        """Return the convolution of the input, before it with ReLU if `rectify`, and after it with ReLU if `relu`."""
        weight = self.weight
        suits = native.fit(self.in_channels) or (self.in_channels == 3 and not rectify)
        if not fast or weight.requires_grad or not suits or not native.usable(input, self.out_channels):
            result = super().forward(F.relu(input) if rectify else input)
            return F.relu(result, inplace=True) if relu else result
        kernels = self._kernels
        if kernels is None or not kernels.fit(weight):
            self._kernels = kernels = _Kernels(weight, integers=native.multiplies_integers())
        y: Tensor = _Frozen.apply(input, weight, self.bias, kernels, rectify, relu)
        return y


def trained_conv(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride: int) -> Tensor:
    """Return the convolution, without padding, of N x C x H x W and kernels, D x C x K x K, with gradients by all."""
    result: Tensor = _Trained.apply(x, weight, bias, stride)
    return result


class _Kernels:
    """Transformed kernels of weights that do not change: four times as many values, for each direction."""

    def __init__(self, weight: Tensor, *, integers: bool) -> None:
        self._weight = weight
        self._version = weight._version
        self._integers = integers
        self._forward: Packed | None = None
        self._backward: Packed | None = None

    def fit(self, weight: Tensor) -> bool:
        """Return whether these are the kernels of a weight as it is now, of the numbers that are wanted now."""
        same = self._weight is weight and self._version == weight._version
        return same and self._integers == native.multiplies_integers()

    @property
    def forward(self) -> Packed:
        if self._forward is None:
            self._forward = winograd_kernels(self._weight, integers=self._integers)
        return self._forward

    @property
    def backward(self) -> Packed:
        if self._backward is None:
            weight = _adjoint(self._weight)
            # The gradients of pictures have channels of zeros after their own three.
            weight = F.pad(weight, [0, 0, 0, 0, 0, 0, 0, -len(weight) % COLUMNS])
            self._backward = winograd_kernels(weight, integers=self._integers)
        return self._backward


class _Frozen(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, kernels: _Kernels, rectify: bool, relu: bool
    ) -> Tensor:
        x = _rows(x)
        c_out, c_in = weight.shape[:2]
        if native.fit(c_in):
            y = _winograd(x, kernels.forward, c_out, padding=1, mask=x if rectify else None, bias=bias, relu=relu)
        else:
            y = F.conv2d(x, weight, bias, padding=1)
            y = F.relu(y, inplace=True) if relu else y
        ctx.kernels, ctx.channels = kernels, c_in
        ctx.save_for_backward(x if rectify else None, y if relu else None)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        x, y = ctx.saved_tensors
        channels = -(-ctx.channels // COLUMNS) * COLUMNS
        by_x = _winograd(gradient, ctx.kernels.backward, channels, padding=1, mask=y, where=x)
        # The whole map is no view of it, so that autograd may add other gradients in place.
        by_x = by_x if by_x.shape[1] == ctx.channels else by_x[:, : ctx.channels]
        return by_x, None, None, None, None, None


class _Trained(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        x = _rows(x)
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.integers = stride, native.multiplies_integers()
        if _suits_winograd(weight, stride):
            kernels = winograd_kernels(weight, integers=ctx.integers)
            return _winograd(x, kernels, len(weight), padding=0, bias=bias)
        if _makes_picture(weight, stride) and bias is not None:
            return _picture(x, picture_kernels(weight, integers=ctx.integers), bias)
        if _reads_picture(weight, stride) and bias is None:
            return _of_picture(x, photo_kernels(weight, integers=ctx.integers), len(weight))
        return F.conv2d(x, weight, bias, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        gradient = _rows(gradient)
        by_x, by_weight, by_bias, _ = ctx.needs_input_grad
        return (
            _by_input(gradient, x, weight, ctx.stride, integers=ctx.integers) if by_x else None,
            _by_kernels(gradient, x, weight, ctx.stride) if by_weight else None,
            gradient.sum((0, 2, 3)) if by_bias else None,
            None,
        )


def _suits_winograd(weight: Tensor, stride: int) -> bool:
    return weight.shape[2:] == (3, 3) and stride == 1 and native.fit(weight.shape[0], weight.shape[1])


def _makes_picture(weight: Tensor, stride: int) -> bool:
    """Return whether these are the kernels of a last layer: 3 x C x 9 x 9."""
    return weight.shape[2:] == (9, 9) and stride == 1 and len(weight) == 3 and native.fit(weight.shape[1])


def _picture(x: Tensor, kernels: Packed, bias: Tensor) -> Tensor:
    """Return the convolution of 9 x 9, with three channels in channels_last."""
    n, h, w, c_in = _sizes(x)
    height, width = h - 8, w - 8
    y = torch.empty((n, 3, height, width), memory_format=torch.channels_last)
    for image, result in zip(x, y, strict=True):
        sizes = (h, w, c_in, 0, 0, height, width)
        native.call("convolve_to_picture", image, 0, None, None, 0, *kernels.arguments, bias, result, *sizes)
    return y


def _reads_picture(weight: Tensor, stride: int) -> bool:
    """Return whether these are the kernels of a first layer: D x 3 x 9 x 9."""
    return weight.shape[1:] == (3, 9, 9) and stride == 1 and native.fit(len(weight))


def _of_picture(x: Tensor, kernels: Packed, c_out: int) -> Tensor:
    """Return the convolution of 9 x 9 of maps with three channels."""
    n, h, w, _ = _sizes(x)
    y = torch.empty((n, c_out, h - 8, w - 8), memory_format=torch.channels_last)
    for image, result in zip(x, y, strict=True):
        sizes = (h, w, 0, 0, h - 8, w - 8, c_out)
        native.call("convolve_photo", image, None, *kernels.arguments, result, 0, *sizes, *native.NO_NORM)
    return y


def _by_input(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, *, integers: bool) -> Tensor:
    if _suits_winograd(weight, stride):
        kernels = winograd_kernels(_adjoint(weight), integers=integers)
        return _winograd(gradient, kernels, x.shape[1], padding=2)
    if _makes_picture(weight, stride):
        kernels = photo_kernels(_adjoint(weight), integers=integers)
        return _of_picture(_rows(F.pad(gradient, [8] * 4)), kernels, x.shape[1])
    by_x: Tensor = _torch_gradients(gradient, x, weight, stride, [True, False, False])[0]
    return by_x


def _by_kernels(gradient: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    c_out, c_in, side, _ = weight.shape
    if _suits_winograd(weight, stride):
        kernels = x.new_empty(c_in, 3, 3, c_out)
        native.call("kernel_gradient", x, gradient, kernels, *_sizes(x), c_out)
        return kernels.permute(3, 0, 1, 2)
    if native.fit(c_out) and side * c_in >= native.ROWS:
        return _direct(x, gradient, side, stride).permute(3, 2, 0, 1)
    if native.fit(c_in) and side * c_out >= native.ROWS and stride == 1:
        # Few channels in the result, as in the last layer: the roles change.
        around = _rows(F.pad(gradient, [side - 1] * 4))
        return _direct(around, x, side, 1).flip(0, 1).permute(2, 3, 0, 1)
    by_kernels: Tensor = _torch_gradients(gradient, x, weight, stride, [False, True, False])[1]
    return by_kernels


def _winograd(
    x: Tensor,
    kernels: Packed,
    c_out: int,
    *,
    padding: int,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    relu: bool = False,
    where: Tensor | None = None,
) -> Tensor:
    """Return a map in channels_last.

    Values of `x` count as 0 where `mask` is not positive, and those of the result become 0 where `where` is not.
    """
    x = _rows(x)
    n, h, w, c_in = _sizes(x)
    grown = 2 * padding - 2
    y = torch.empty((n, c_out, h + grown, w + grown), memory_format=torch.channels_last)
    native.call("winograd", x, mask, *kernels.arguments, bias, where, y, n, h, w, c_in, c_out, padding, relu)
    return y


def _adjoint(weight: Tensor) -> Tensor:
    """Return the kernels whose convolution is the gradient by the input."""
    return weight.detach().flip(2, 3).transpose(0, 1)


def _direct(x: Tensor, gradient: Tensor, side: int, stride: int) -> Tensor:
    """Return the gradient by the kernels, K x K x C x D, given the input and the gradient of the result."""
    c_in, c_out = x.shape[1], gradient.shape[1]
    kernels = x.new_empty(side, side, c_in, c_out)
    native.call("direct_kernel_gradient", x, gradient, kernels, *_sizes(x), c_out, side, stride)
    return kernels


def _torch_gradients(gradient: Tensor, x: Tensor, weight: Tensor, stride: int, wanted: list[bool]) -> Any:
    backward = torch.ops.aten.convolution_backward
    return backward(gradient, x, weight, None, [stride] * 2, [0, 0], [1, 1], False, [0, 0], 1, wanted)


def _rows(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _sizes(x: Tensor) -> tuple[int, int, int, int]:
    """Return images, height, width and channels."""
    n, c, h, w = x.shape
    return n, h, w, c
