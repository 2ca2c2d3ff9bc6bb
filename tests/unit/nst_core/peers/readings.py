"""Slow, simple implementations of the peers' networks, written from their descriptions without library code.

Photos are H x W x 3 in 0 to 255, results H' x W' x 3 on the same scale, not clipped; both in float64.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Array = NDArray[np.float64]


def photo(height: int, width: int, *, seed: int = 0) -> Array:
    """Return a photo of integers with smooth and detailed parts."""
    random = np.random.default_rng(seed)
    ramp = np.add.outer(np.arange(height), np.arange(width))[..., None] % 97
    picture: Array = (random.integers(0, 120, (height, width, 3)) + ramp).astype(np.float64)
    return picture


def pytorch_examples_state(*, width: int = 3, blocks: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Return a state dict of random weights with the names of pytorch/examples."""
    random = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def conv(name: str, c_in: int, c_out: int, kernel: int) -> None:
        scale = (c_in * kernel * kernel) ** -0.5
        state[f"{name}.conv2d.weight"] = torch.randn(c_out, c_in, kernel, kernel, generator=random) * scale
        state[f"{name}.conv2d.bias"] = torch.randn(c_out, generator=random)

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = torch.rand(channels, generator=random) + 0.5
        state[f"{name}.bias"] = torch.randn(channels, generator=random) * 0.5

    for number, (c_in, c_out, kernel) in enumerate([(3, 1, 9), (1, 2, 3), (2, 4, 3)], start=1):
        conv(f"conv{number}", c_in if number == 1 else c_in * width, c_out * width, kernel)
        norm(f"in{number}", c_out * width)
    for block in range(1, blocks + 1):
        for number in (1, 2):
            conv(f"res{block}.conv{number}", 4 * width, 4 * width, 3)
            norm(f"res{block}.in{number}", 4 * width)
    conv("deconv1", 4 * width, 2 * width, 3)
    norm("in4", 2 * width)
    conv("deconv2", 2 * width, width, 3)
    norm("in5", width)
    conv("deconv3", width, 3, 9)
    state["deconv3.conv2d.weight"] *= 60
    state["deconv3.conv2d.bias"] = torch.tensor([90.0, 120.0, 150.0])
    return state


def pytorch_examples(state: Mapping[str, Tensor], picture: Array) -> Array:
    """Return the output of the example's network, whose sides are rounded up to multiples of 4."""
    state = {key: value.double() for key, value in state.items()}

    def conv(y: Tensor, name: str, *, stride: int = 1, upsample: bool = False) -> Tensor:
        if upsample:
            y = y.repeat_interleave(2, 2).repeat_interleave(2, 3)
        weight = state[f"{name}.conv2d.weight"]
        y = torch.nn.ReflectionPad2d(weight.shape[2] // 2)(y)
        return F.conv2d(y, weight, state[f"{name}.conv2d.bias"], stride)

    def norm(y: Tensor, name: str) -> Tensor:
        return F.instance_norm(y, weight=state[f"{name}.weight"], bias=state[f"{name}.bias"], eps=1e-5)

    y = torch.from_numpy(picture).permute(2, 0, 1)[None]
    for number in (1, 2, 3):
        y = norm(conv(y, f"conv{number}", stride=1 if number == 1 else 2), f"in{number}").relu()
    block = 1
    while f"res{block}.in1.weight" in state:
        z = norm(conv(y, f"res{block}.conv1"), f"res{block}.in1").relu()
        y = y + norm(conv(z, f"res{block}.conv2"), f"res{block}.in2")
        block += 1
    y = norm(conv(y, "deconv1", upsample=True), "in4").relu()
    y = norm(conv(y, "deconv2", upsample=True), "in5").relu()
    result: Array = conv(y, "deconv3")[0].permute(1, 2, 0).numpy()
    return result


def gordicaleksa_state(state: Mapping[str, Tensor], *, nested: bool = True) -> dict[str, Tensor]:
    """Return a state dict of pytorch/examples with the names of gordicaleksa/pytorch-neural-style-johnson."""
    renamed = {}
    for key, value in state.items():
        deeper = "conv2d.conv2d." if nested and key.startswith(("deconv1", "deconv2")) else "conv2d."
        renamed[key.replace("deconv", "up").replace("conv2d.", deeper)] = value
    return renamed


def gordicaleksa(state: Mapping[str, Tensor], picture: Array) -> Array:
    """Return the output of his program for a picture, with the layers of pytorch/examples and before clipping."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    result: Array = (pytorch_examples(state, (picture / 255 - mean) / deviation) * deviation + mean) * 255
    return result


def lengstrom_variables(*, width: int = 3, blocks: int = 2, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return random variables with the names and shapes of lengstrom/fast-style-transfer."""
    random = np.random.default_rng(seed)
    shapes = [(9, 9, 3, width), (3, 3, width, 2 * width), (3, 3, 2 * width, 4 * width)]
    shapes += [(3, 3, 4 * width, 4 * width)] * (2 * blocks)
    shapes += [(3, 3, 2 * width, 4 * width), (3, 3, width, 2 * width), (9, 9, width, 3)]
    arrays: list[Array] = []
    for number, shape in enumerate(shapes):
        transposed = number in (len(shapes) - 3, len(shapes) - 2)
        channels = shape[2] if transposed else shape[3]
        arrays += [
            random.normal(0, 0.1, shape),
            random.normal(0, 0.3, channels),  # shift comes first
            random.uniform(0.3, 0.9, channels),
        ]
    return {f"Variable_{i}" if i else "Variable": array.astype(np.float32) for i, array in enumerate(arrays)}


def lengstrom(variables: Mapping[str, NDArray[np.float32]], picture: Array) -> Array:
    """Return the output of his network, whose sides are rounded up to multiples of 4."""
    remaining = iter(range(len(variables)))

    def take() -> Array:
        number = next(remaining)
        return variables[f"Variable_{number}" if number else "Variable"].astype(np.float64)

    def norm(y: Array) -> Array:
        shift, scale = take(), take()
        result: Array = scale * (y - y.mean((0, 1))) / np.sqrt(y.var((0, 1)) + 1e-3) + shift
        return result

    def conv(y: Array, stride: int = 1) -> Array:
        weight, pads = take(), []
        for n in y.shape[:2]:
            total = max((-(-n // stride) - 1) * stride + len(weight) - n, 0)
            pads.append((total // 2, total - total // 2))
        windows = sliding_window_view(np.pad(y, [*pads, (0, 0)]), weight.shape[:2], (0, 1))[::stride, ::stride]
        return norm(np.einsum("hwcyx,yxco->hwo", windows, weight))

    def transposed(y: Array) -> Array:
        weight, (height, width) = take(), y.shape[:2]
        full = np.zeros((2 * height + 1, 2 * width + 1, weight.shape[2]))
        for row in range(3):
            for column in range(3):
                # Row i of the input is added at rows 2i to 2i + 2.
                part = np.einsum("hwi,oi->hwo", y, weight[row, column])
                full[row : row + 2 * height : 2, column : column + 2 * width : 2] += part
        return norm(full[:-1, :-1])

    y = np.maximum(conv(picture), 0)
    y = np.maximum(conv(y, 2), 0)
    y = np.maximum(conv(y, 2), 0)
    for _ in range((len(variables) - 18) // 6):
        z = np.maximum(conv(y), 0)
        y = y + conv(z)
    y = np.maximum(transposed(y), 0)
    y = np.maximum(transposed(y), 0)
    result: Array = np.tanh(conv(y)) * 150 + 127.5
    return result


def torch_file(state: Any, *, zipped: bool = True) -> bytes:
    """Return a file of torch.save, in the format before 1.6 if it is not zipped."""
    file = io.BytesIO()
    torch.save(state, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def npz_file(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return a file of numpy.savez."""
    file, named = io.BytesIO(), dict[str, Any](arrays)
    np.savez(file, **named)
    return file.getvalue()
