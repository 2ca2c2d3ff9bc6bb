"""The header of a style's weights file: its config, and whether its tensors fit that. Never loads torch."""

from math import prod
from typing import IO, Any

from nst_core.errors import ConfigError, WeightsError
from nst_core.nets.safetensors_header import parse_object, read_header
from nst_core.nets.transformer_config import TransformerConfig

#: The key of the config's JSON in the header's metadata.
CONFIG_KEY = "nst_transformer"
#: Bytes per number by dtype, of weights and of the counters of batch normalisation.
_WEIGHTS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_COUNTERS = {"I64": 8}


def read_config(file: IO[bytes] | bytes, *, name: str = "The weights file") -> TransformerConfig:
    """Return the config of an open weights file, or of a file's bytes; only the header is read.

    `name` begins error messages. Raises WeightsError if it is not a complete safetensors file, has no config, or has
    tensors that do not fit the config.
    """
    header = read_header(file, name=name)
    if CONFIG_KEY not in header.metadata:
        raise WeightsError(f"{name} is not a transformer network: its header has no {CONFIG_KEY}.")
    values = parse_object(header.metadata[CONFIG_KEY])
    if values is None:
        raise WeightsError(f"{name} cannot be loaded: its {CONFIG_KEY} is not a JSON object.")
    try:
        config = TransformerConfig.from_dict(values)
    except ConfigError as error:
        raise WeightsError(f"{name} cannot be loaded: {error}") from error
    _check_tensors(header.tensors, config, data_bytes=header.data_bytes, name=name)
    return config


def _check_tensors(tensors: dict[str, Any], config: TransformerConfig, *, data_bytes: int, name: str) -> None:
    """Raise WeightsError unless the tensors are those of the config and fill the file."""
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
            raise WeightsError(f"{name} cannot be loaded: {key} is not a tensor of the shape {shape}.")
        places.append((begin, end))
    place = 0
    for begin, end in sorted(places):
        place = end if begin == place else -1
    if place != data_bytes:
        raise WeightsError(f"{name} cannot be loaded: it is damaged or not whole.")
