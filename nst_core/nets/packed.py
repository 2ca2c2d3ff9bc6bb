"""The weights of convolutions as kernels in C read them: floats, or 16-bit integers with scales."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nst_core.nets import native

#: The columns of a block of weights.
COLUMNS = 16
#: Channels of the nine parts of a 9 x 9 kernel, 27 of which are used.
_PARTS = 32


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Weights: float32, blocks x rows x products x 16; or pairs of int16, with the scale of each column of a block."""

    values: Tensor
    scales: Tensor | None = None

    @property
    def arguments(self) -> tuple[Tensor, Tensor | None]:
        """What kernels take."""
        return self.values, self.scales

    @property
    def nbytes(self) -> int:
        """The memory that they take, in bytes."""
        return self.values.nbytes + (0 if self.scales is None else self.scales.nbytes)


def packed(blocks: Tensor, *, integers: bool) -> Packed:
    """Return weights, blocks x rows x products x 16, as floats or as integers.

    Integers are the nearest for which the sum over a row of the largest values has 31 bits at most.
    """
    blocks = blocks.contiguous()
    if not integers:
        return Packed(values=blocks)
    count, rows, products, _ = blocks.shape
    values = torch.empty(count, rows, -(-products // 2), COLUMNS, 2, dtype=torch.int16)
    scales = torch.empty(count, COLUMNS)
    native.call("to_integers", blocks, values, scales, count, rows, products)
    return Packed(values=values, scales=scales)


def winograd_kernels(weight: Tensor, *, integers: bool = False) -> Packed:
    """Return kernels, D x C x 3 x 3, as Winograd's algorithm needs them: 36 * D / 16 blocks of C products."""
    c_out, c_in = weight.shape[:2]
    kernels = weight.new_empty(36 * c_out // COLUMNS, 1, c_in, COLUMNS)
    native.call("transform_kernels", weight.detach().permute(1, 2, 3, 0).contiguous(), kernels, c_in, c_out)
    return packed(kernels, integers=integers)


def photo_kernels(weight: Tensor, *, integers: bool = False) -> Packed:
    """Return kernels, D x 3 x 9 x 9, as `convolve_photo` needs them: as nine of 3 x 3 side by side."""
    parts = _parts(weight).permute(0, 2, 4, 1, 3, 5).flatten(1, 3)
    return winograd_kernels(F.pad(parts, [0, 0, 0, 0, 0, _PARTS - 27]), integers=integers)


def picture_kernels(weight: Tensor, *, integers: bool = False) -> Packed:
    """Return kernels, 3 x C x 9 x 9, as `convolve_to_picture` needs them: as nine of 3 x 3 one after the other."""
    parts = _parts(weight).permute(2, 4, 0, 1, 3, 5).flatten(0, 2)
    return winograd_kernels(F.pad(parts, [0, 0, 0, 0, 0, 0, 0, _PARTS - 27]), integers=integers)


def _parts(weight: Tensor) -> Tensor:
    """Return kernels of 9 x 9 as D x C x 3 x K x 3 x K: three times three kernels."""
    return weight.detach().reshape(*weight.shape[:2], 3, 3, 3, 3)
