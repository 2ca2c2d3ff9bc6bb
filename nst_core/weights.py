"""Transformer networks as safetensors files with their config in the header."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from nst_core.errors import ConfigError, WeightsError
from nst_core.transformer import TransformerConfig, TransformerNet

#: The key of the config's JSON in the header's metadata.
CONFIG_KEY = "nst_transformer"


def save_transformer(net: TransformerNet, path: Path) -> None:
    """Write the network's weights as float16 and its config in the header, whole or not at all."""
    state = {k: v.detach().to("cpu", torch.float16).contiguous() for k, v in net.state_dict().items()}
    metadata = {"format": "pt", CONFIG_KEY: json.dumps(net.config.to_dict(), sort_keys=True)}
    part = path.with_suffix(".part")
    part.write_bytes(save(state, metadata))
    part.replace(path)


def load_transformer(path: Path) -> TransformerNet:
    """Return the network of a weights file, float32 on the CPU, in eval mode.

    Raises WeightsError where the file is damaged, has no config, or its tensors do not fit it.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state = {key: file.get_tensor(key).float() for key in file.keys()}
        config = TransformerConfig.from_dict(json.loads(metadata[CONFIG_KEY]))
        net = TransformerNet(config)
        net.load_state_dict(state)
    except KeyError:
        raise WeightsError(f"{path} is no transformer network: its header has no {CONFIG_KEY}.") from None
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, ConfigError) as error:
        raise WeightsError(f"{path} cannot be loaded: {error}") from error
    return net.eval().requires_grad_(False)
