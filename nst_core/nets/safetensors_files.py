"""Writes safetensors files without a copy of the tensors in memory."""

import json
from collections.abc import Mapping
from typing import IO

import torch
from torch import Tensor

#: The names of dtypes in the format.
_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
#: The format requires the header's length to be a multiple of this.
_ALIGNMENT = 8


def write_safetensors(file: IO[bytes], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata to a file; equal input gives equal bytes. Raises OSError if the disk is full."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    place = 0
    # The widest types first, so that each tensor begins at a multiple of its type's size.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    for name in names:
        tensor = tensors[name]
        end = place + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        data = tensors[name].detach().cpu().contiguous().reshape(-1)
        if data.numel():
            file.write(data.view(torch.uint8).numpy().data)
