"""The header of a style's weights file: its config, and whether its tensors fit it. Never loads torch.

A safetensors file is the length of the header (8 bytes, little-endian), the header (JSON: each tensor's dtype, shape
and place, and texts under `__metadata__`), and the tensors without gaps.
"""

import json
import os
from math import prod
from typing import IO, Any

from nst_core.errors import ConfigError, WeightsError
from nst_core.nets.transformer_config import TransformerConfig

#: The key of the config's JSON in the header's metadata.
CONFIG_KEY = "nst_transformer"
#: The largest network has about 800 tensors, described in 100 bytes each.
MAX_HEADER_BYTES = 2**20
#: Bytes of a number by its dtype, of weights and of the counters of batch normalisation.
_WEIGHTS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_COUNTERS = {"I64": 8}


def read_config(file: IO[bytes], *, name: str = "The weights file") -> TransformerConfig:
    """Return the config of an open weights file, with nothing read but its header; `name` begins error messages.

    Raises WeightsError where the file is no safetensors file or not whole, has no config, or its tensors do not fit it.
    """
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, size_bytes - 8):
        raise WeightsError(f"{name} is no safetensors file.")
    header = _parse(file.read(length))
    if header is None:
        raise WeightsError(f"{name} is no safetensors file: its header is no JSON object.")
    try:
        values = _parse(header.pop("__metadata__")[CONFIG_KEY])
    except (KeyError, TypeError):
        raise WeightsError(f"{name} is no transformer network: its header has no {CONFIG_KEY}.") from None
    if values is None:
        raise WeightsError(f"{name} cannot be loaded: its {CONFIG_KEY} is no JSON object.")
    try:
        config = TransformerConfig.from_dict(values)
    except ConfigError as error:
        raise WeightsError(f"{name} cannot be loaded: {error}") from error
    _check_tensors(header, config, data_bytes=size_bytes - 8 - length, name=name)
    return config


def _parse(text: bytes | str) -> dict[str, Any] | None:
    """Return the JSON object in a text, or None where there is none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _check_tensors(tensors: dict[str, Any], config: TransformerConfig, *, data_bytes: int, name: str) -> None:
    """Raise WeightsError unless the tensors are those of the config, and fill the file."""
    shapes = config.tensor_shapes()
    if tensors.keys() != shapes.keys():
        odd = min(tensors.keys() ^ shapes.keys())
        raise WeightsError(f"{name} cannot be loaded: it has {'no' if odd in shapes else 'an unknown'} tensor {odd}.")
    places = []
    for key, shape in shapes.items():
        try:
            found = tuple(tensors[key]["shape"])
            begin, end = tensors[key]["data_offsets"]
            item_bytes = (_COUNTERS if key.endswith(".num_batches_tracked") else _WEIGHTS)[tensors[key]["dtype"]]
            fits = end - begin == item_bytes * prod(shape)
        except (KeyError, TypeError, ValueError):
            raise WeightsError(f"{name} cannot be loaded: its header does not describe {key}.") from None
        if found != shape or not fits:
            raise WeightsError(f"{name} cannot be loaded: {key} is no tensor of the shape {shape}.")
        places.append((begin, end))
    place = 0
    for begin, end in sorted(places):
        place = end if begin == place else -1
    if place != data_bytes:
        raise WeightsError(f"{name} cannot be loaded: it is damaged or not whole.")
