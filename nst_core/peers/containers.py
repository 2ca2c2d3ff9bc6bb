"""The tensors in a file, whatever container they are in; no code in a file is ever run."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from nst_core.errors import WeightsError
from nst_core.peers.strangers import TENSORFLOW_HINT, TORCH_HINT, describe, describe_zip, is_tensorflow_name

#: The largest file, and the most that the members of a zip archive may unpack to.
MAX_BYTES = 2 * 2**30
#: Members of a zip archive; the largest network has about 800 tensors.
_MAX_MEMBERS = 20_000


def is_safetensors(data: bytes) -> bool:
    """Return whether bytes begin as a safetensors file does."""
    return data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8


def read_container(data: bytes, *, name: str) -> dict[str, Any]:
    """Return what a file holds: tensors by name, or, of torch.save, a mapping that may have them deeper inside.

    Raises WeightsError if the bytes are no file of tensors, or are damaged. `name` begins error messages.
    """
    if len(data) > MAX_BYTES:
        raise WeightsError(f"{name} has {len(data):,} bytes; a checkpoint may have {MAX_BYTES:,}.")
    if is_safetensors(data):
        with _refused(f"{name} is damaged or not whole."):
            return dict(safetensors.torch.load(data))
    if data.startswith(b"PK"):
        return _read_zip(data, name=name)
    if data.startswith(b"\x80"):  # a pickle, as torch.save wrote before 1.6
        return _read_torch(data, name=name)
    if is_tensorflow_name(name) and describe(data).startswith("is no checkpoint: it is neither"):
        raise WeightsError(f"{name} looks like a part of a TensorFlow checkpoint: {TENSORFLOW_HINT}.")
    raise WeightsError(f"{name} {describe(data)}.")


def _read_zip(data: bytes, *, name: str) -> dict[str, Any]:
    with _refused(f"{name} is damaged or not whole."):
        archive = zipfile.ZipFile(io.BytesIO(data))
    with archive:
        members = archive.infolist()
        # Before anything is unpacked: a kilobyte can stand for a megabyte of zeros.
        if len(members) > _MAX_MEMBERS or sum(member.file_size for member in members) > MAX_BYTES:
            raise WeightsError(f"{name} unpacks to more than a checkpoint may have ({MAX_BYTES:,} bytes).")
        if not members or any(member.filename.endswith(".npy") for member in members):
            return _read_npz(data, name=name)
        stranger = describe_zip(archive)
    if stranger is not None:
        raise WeightsError(f"{name} {stranger}.")
    return _read_torch(data, name=name)


def _read_npz(data: bytes, *, name: str) -> dict[str, Any]:
    with (
        _refused(f"{name} is damaged, or holds other things than numbers."),
        np.load(io.BytesIO(data), allow_pickle=False) as arrays,
    ):
        if not arrays.files:
            raise ValueError("no arrays")
        # TensorFlow's variables are float32; its step counters are whole numbers, which no network has.
        floats = {key: value for key in arrays.files if (value := arrays[key]).dtype.kind not in "iub"}
        # astype also turns the bytes of big-endian files.
        return {key: torch.from_numpy(value.astype(np.float32, casting="same_kind")) for key, value in floats.items()}


def _read_torch(data: bytes, *, name: str) -> dict[str, Any]:
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes its reader raise whatever its next step stumbles over
        objects = _objects_in(data)
        if objects:
            message = (
                f"{name} holds Python objects ({objects}), which nst does not load, as that runs code: {TORCH_HINT}."
            )
            raise WeightsError(message) from error
        raise WeightsError(f"{name} is damaged, or holds Python objects, which nst does not load.") from error
    if isinstance(state, Tensor):
        raise WeightsError(f"{name} holds one tensor and no network: {TORCH_HINT}.")
    if not isinstance(state, Mapping):
        raise WeightsError(f"{name} holds no state dict of tensors: {TORCH_HINT}.")
    return {key: value for key, value in state.items() if isinstance(key, str)}


def _objects_in(data: bytes) -> str:
    """Return the classes and functions that a pickle names and that are not loaded; nothing if it cannot be told."""
    try:
        # It reads the pickle's instructions and runs none.
        found = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(data))
    except Exception:  # noqa: BLE001  # damaged, as above, or of the format before 1.6
        return ""
    names = sorted(ascii(each)[1:-1] for each in found)
    return ", ".join(names[:3])[:120] + (" and more" if len(names) > 3 else "")


@contextmanager
def _refused(message: str) -> Iterator[None]:
    """Turn whatever a reader raises inside into a WeightsError."""
    try:
        yield
    except Exception as error:  # as above
        raise WeightsError(message) from error
