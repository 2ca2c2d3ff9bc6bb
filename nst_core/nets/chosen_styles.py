"""A weights file with some styles of another one. Never loads torch."""

import json
from collections.abc import Sequence
from dataclasses import replace

from nst_core.nets.safetensors_header import read_header
from nst_core.nets.weights_header import CONFIG_KEY, read_config

#: The format of the header's length, and what the length is a multiple of.
_LENGTH_BYTES = 8


def chosen_styles(
    data: bytes, indexes: Sequence[int], *, identity: bool = False, name: str = "The weights file"
) -> bytes:
    """Return the bytes of a weights file with some styles of those in `data`; equal input gives equal bytes.

    `identity` says that the last one leaves photos as they are; `name` begins error messages. Raises WeightsError if
    `data` is no weights file or has no such style.
    """
    config = read_config(data, name=name)
    for index in indexes:
        config.check_style(index, name=name)
    if config.styles == 1:
        return data
    chosen = replace(config, styles=len(indexes), identity=identity)
    tensors = read_header(data, name=name).tensors
    start, shapes = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little"), chosen.tensor_shapes()
    own = set(config.style_tensors())
    header: dict[str, object] = {"__metadata__": {CONFIG_KEY: json.dumps(chosen.to_dict(), sort_keys=True)}}
    parts, place = [], 0
    for key, tensor in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = (start + offset for offset in tensor["data_offsets"])
        part = data[begin:end]
        if key in own:
            row = len(part) // config.styles
            part = b"".join(part[index * row : (index + 1) * row] for index in indexes)
        parts.append(part)
        header[key] = {**tensor, "shape": shapes[key], "data_offsets": [place, place + len(part)]}
        place += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + b"".join(parts)
