"""The weights file of one style, from that of a network with several. Never loads torch."""

import json
from dataclasses import replace

from nst_core.errors import WeightsError
from nst_core.nets.safetensors_header import read_header
from nst_core.nets.weights_header import CONFIG_KEY, read_config

#: The format of the header's length, and what the length is a multiple of.
_LENGTH_BYTES = 8


def single_style(data: bytes, index: int, *, name: str = "The weights file") -> bytes:
    """Return the bytes of a weights file with one style of those in `data`; equal input gives equal bytes.

    `name` begins error messages. Raises WeightsError if `data` is no weights file or has no such style.
    """
    config = read_config(data, name=name)
    if not 0 <= index < config.styles:
        count = "one style" if config.styles == 1 else f"{config.styles} styles"
        raise WeightsError(f"{name} is a network of {count}, and has no style {index}.")
    if config.styles == 1:
        return data
    tensors = read_header(data, name=name).tensors
    start, own = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little"), set(config.style_tensors())
    one = replace(config, styles=1)
    header: dict[str, object] = {"__metadata__": {CONFIG_KEY: json.dumps(one.to_dict(), sort_keys=True)}}
    parts, place = [], 0
    for key, tensor in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = (start + offset for offset in tensor["data_offsets"])
        shape = tensor["shape"]
        if key in own:
            row_bytes, shape = (end - begin) // config.styles, shape[1:]
            begin, end = begin + index * row_bytes, begin + (index + 1) * row_bytes
        parts.append(data[begin:end])
        header[key] = {**tensor, "shape": shape, "data_offsets": [place, place + end - begin]}
        place += end - begin
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + b"".join(parts)
