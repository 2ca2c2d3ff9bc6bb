"""Which network a file holds: read any known container of tensors, then tell by the tensors' names."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from nst_core.errors import WeightsError
from nst_core.peers import lengstrom, pytorch_examples
from nst_core.transformer import TransformerNet
from nst_core.weights import load_transformer_bytes
from nst_core.weights_header import CONFIG_KEY

_PEERS = (pytorch_examples, lengstrom)


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A network that was read from a file, and the project whose format that is."""

    net: TransformerNet
    origin: str


def import_network(data: bytes, *, name: str = "The file") -> TransformerNet:
    """Return the network of a checkpoint's bytes as a network of ours, float32 on the CPU, in eval mode.

    It computes what the original does, brought to the unit range and cropped to the photo's size. `name` begins error
    messages. Raises WeightsError where the bytes are no checkpoint, are damaged, or hold another network.
    """
    return identify(data, name=name).net


def identify(data: bytes, *, name: str = "The file") -> Imported:
    """Return the network, as `import_network` does, and where its format comes from."""
    if _is_safetensors(data) and CONFIG_KEY.encode() in data[: 8 + int.from_bytes(data[:8], "little")]:
        return Imported(net=load_transformer_bytes(data, name=name), origin="nst")
    tensors = _plain_names(_read(data, name=name))
    for peer in _PEERS:
        if peer.FIRST in tensors:
            return Imported(net=peer.convert(tensors, name=name), origin=peer.ORIGIN)
    known = " nor of ".join(peer.ORIGIN for peer in _PEERS)
    raise WeightsError(f"{name} holds tensors, but no network of nst nor of {known}.")


def _is_safetensors(data: bytes) -> bool:
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def _read(data: bytes, *, name: str) -> dict[str, Tensor]:
    if _is_safetensors(data):
        with _refused(f"{name} is damaged or not whole."):
            return safetensors.torch.load(data)
    if data.startswith(b"PK"):
        with _refused(f"{name} is damaged or not whole."), zipfile.ZipFile(io.BytesIO(data)) as archive:
            arrays = any(member.endswith(".npy") for member in archive.namelist())
        return _read_npz(data, name=name) if arrays else _read_torch(data, name=name)
    if data.startswith(b"\x80"):  # a pickle, as torch.save wrote before 1.6
        return _read_torch(data, name=name)
    raise WeightsError(f"{name} is no checkpoint: it is neither safetensors, nor .npz, nor a file of torch.save.")


def _read_npz(data: bytes, *, name: str) -> dict[str, Tensor]:
    with (
        _refused(f"{name} is damaged, or holds other things than numbers."),
        np.load(io.BytesIO(data), allow_pickle=False) as arrays,
    ):
        # TensorFlow's variables are float32; astype also turns the bytes of big-endian files.
        return {key: torch.from_numpy(arrays[key].astype(np.float32, casting="same_kind")) for key in arrays.files}


def _read_torch(data: bytes, *, name: str) -> dict[str, Tensor]:
    with _refused(f"{name} is damaged, or holds Python objects, which nst does not load."):
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(state, Mapping) or not all(_usable(*entry) for entry in state.items()):
        raise WeightsError(f"{name} holds no state dict of tensors.")
    return dict(state)


def _usable(key: Any, value: Any) -> bool:
    is_tensor = isinstance(value, Tensor) and value.layout is torch.strided and value.device.type == "cpu"
    return is_tensor and isinstance(key, str)


@contextmanager
def _refused(message: str) -> Iterator[None]:
    """Turn whatever a reader raises inside into a WeightsError."""
    try:
        yield
    except Exception as error:  # a damaged file makes its reader raise whatever its next step stumbles over
        raise WeightsError(message) from error


def _plain_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors without the `module.` of torch's DataParallel and the `:0` of TensorFlow's outputs."""
    if all(key.startswith("module.") for key in tensors):
        tensors = {key.removeprefix("module."): value for key, value in tensors.items()}
    if all(key.endswith(":0") for key in tensors):
        tensors = {key.removesuffix(":0"): value for key, value in tensors.items()}
    return tensors
