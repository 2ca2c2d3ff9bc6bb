"""Transformer networks as safetensors files with their config in the header."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from nst_core.errors import WeightsError
from nst_core.nets.families import Style, blended, state_of_style
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.weights_header import CONFIG_KEY, read_config
from nst_core.system.whole_files import write_whole


def save_transformer(net: TransformerNet, path: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write the network's weights as `dtype` and its config in the header, as `write_whole` does."""
    write_whole(path, dump_transformer(net, dtype=dtype))


def dump_transformer(net: TransformerNet, *, dtype: torch.dtype = torch.float16) -> bytes:
    """Return a weights file's bytes: the network's weights as `dtype`, and its config in the header."""
    state = {key: _cast(value.detach().cpu(), dtype).contiguous() for key, value in net.state_dict().items()}
    # Only one entry: safetensors writes several in random order, and a style's version is the hash of its bytes.
    metadata = {CONFIG_KEY: json.dumps(net.config.to_dict(), sort_keys=True)}
    return save(state, metadata)


def load_transformer(path: Path, *, style: Style | None = 0) -> TransformerNet:
    """Return the network of a style of a weights file, float32 on the CPU, in eval mode; the whole one if it is None.

    Raises WeightsError if the file is missing or damaged, has no config or no such style, or its tensors do not fit
    the config.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    return load_transformer_bytes(data, name=str(path), style=style)


def load_transformer_bytes(data: bytes, *, name: str = "The weights file", style: Style | None = 0) -> TransformerNet:
    """Return the network of a weights file's bytes, as `load_transformer` does; `name` begins error messages."""
    config = read_config(data, name=name)
    try:
        state = {key: _cast(value, torch.float32) for key, value in load(data).items()}
        if style is not None:
            state, config = state_of_style(state, config, style, name=name), config.single
        with torch.device("meta"):  # the tensors of the file take their place
            net = TransformerNet(config)
        net.load_state_dict(state, assign=True)
    except (SafetensorError, ValueError, TypeError, RuntimeError) as error:
        raise WeightsError(f"{name} cannot be loaded: {error}") from error
    return net.eval().requires_grad_(False)


def blend_files(files: Sequence[tuple[bytes, Style]], shares: Sequence[float]) -> bytes:
    """Return the bytes of a float32 weights file with a blend of styles; see `families.blended`.

    Each style is the bytes of a weights file and a style in it. Raises as `load_transformer` and `blended` do.
    """
    nets = [load_transformer_bytes(data, style=style) for data, style in files]
    return dump_transformer(blended(nets, shares), dtype=torch.float32)


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value  # batch norm counts its batches in int64
