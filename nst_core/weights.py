"""Transformer networks as safetensors files with their config in the header."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from nst_core.errors import ConfigError, WeightsError
from nst_core.transformer import TransformerConfig, TransformerNet

#: The key of the config's JSON in the header's metadata.
CONFIG_KEY = "nst_transformer"


def save_transformer(net: TransformerNet, path: Path) -> None:
    """Write the network's weights as float16 and its config in the header, whole or not at all."""
    state = {key: _cast(value.detach().cpu(), torch.float16).contiguous() for key, value in net.state_dict().items()}
    # One entry only: safetensors writes several in random order, and a style's version is the hash of its bytes.
    metadata = {CONFIG_KEY: json.dumps(net.config.to_dict(), sort_keys=True)}
    part = path.with_suffix(".part")
    part.write_bytes(save(state, metadata))
    part.replace(path)


def load_transformer(path: Path) -> TransformerNet:
    """Return the network of a weights file, float32 on the CPU, in eval mode.

    Raises WeightsError where the file is missing or damaged, has no config, or its tensors do not fit it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    return load_transformer_bytes(data, name=str(path))


def load_transformer_bytes(data: bytes, *, name: str = "The weights file") -> TransformerNet:
    """Return the network of a weights file's bytes, as `load_transformer` does; `name` begins error messages."""
    try:
        state = {key: _cast(value, torch.float32) for key, value in load(data).items()}
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        config = TransformerConfig.from_dict(json.loads(header["__metadata__"][CONFIG_KEY]))
        with torch.device("meta"):  # no memory for what a damaged config may ask for, until the shapes are seen to fit
            net = TransformerNet(config)
        net.load_state_dict(state, assign=True)
    except KeyError:
        raise WeightsError(f"{name} is no transformer network: its header has no {CONFIG_KEY}.") from None
    except (SafetensorError, ValueError, TypeError, RuntimeError, ConfigError) as error:
        raise WeightsError(f"{name} cannot be loaded: {error}") from error
    return net.eval().requires_grad_(False)


def _cast(value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.to(dtype) if value.is_floating_point() else value  # batch norm counts its batches in int64
