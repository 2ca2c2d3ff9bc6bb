"""The header of a safetensors file. Never loads torch.

A file is the length of the header (8 bytes, little-endian), the header (JSON: the dtype, shape and place of each
tensor, and texts under `__metadata__`), and the tensors without gaps.
"""

import json
import os
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any

from nst_core.errors import WeightsError

#: The largest network has about 800 tensors, and its training three times as many, described in 100 bytes each.
MAX_HEADER_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says about itself."""

    #: Texts by name.
    metadata: dict[str, Any]
    #: The description of each tensor, by name; not checked.
    tensors: dict[str, Any]
    #: The bytes that follow the header.
    data_bytes: int


def read_header(source: IO[bytes] | bytes, *, name: str) -> Header:
    """Return the header of an open file or of a file's bytes; `name` begins error messages.

    Raises WeightsError if it is not a safetensors file.
    """
    file = BytesIO(source) if isinstance(source, bytes) else source
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, size_bytes - 8):
        raise WeightsError(f"{name} is not a safetensors file.")
    tensors = parse_object(file.read(length))
    if tensors is None:
        raise WeightsError(f"{name} is not a safetensors file: its header is not a JSON object.")
    metadata = tensors.pop("__metadata__", None)
    return Header(
        metadata=metadata if isinstance(metadata, dict) else {}, tensors=tensors, data_bytes=size_bytes - 8 - length
    )


def parse_object(text: Any) -> dict[str, Any] | None:
    """Return the JSON object in a text or in bytes, or None if there is none."""
    try:
        values = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
    return values if isinstance(values, dict) else None
