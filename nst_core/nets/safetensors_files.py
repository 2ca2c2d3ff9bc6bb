"""Tensors as a safetensors file, written without a copy of them in memory."""

import json
from collections.abc import Mapping
from typing import IO

import torch
from torch import Tensor

#: Names of the format for the types that states have.
_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
#: The header's length is a multiple of this, as the format has it.
_ALIGNMENT = 8


def write_safetensors(file: IO[bytes], tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and texts about them to a file; equal ones give equal bytes. Raises OSError for a full disk."""
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    place = 0
    # Types of many bytes first, so that each tensor stands at a multiple of its type's size.
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
