"""The files of a training in storage: read, checked against their SHA-256 and loaded."""

import hashlib
from typing import Any

import torch

from nst_core.errors import NstError, WeightsError
from nst_core.nets.safetensors_header import read_header
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.weights import load_transformer_bytes
from nst_core.protocol.segments import StoredFile
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.training.checkpoint import TRAINING_KEY, Checkpoint, parse_checkpoint

_PREFIX = "transformer."


def fetch(
    blobs: BlobStore, file: StoredFile, *, error: type[NstError] = WeightsError, max_bytes: int | None = None
) -> bytes:
    """Return a file's bytes; raise `error` if its SHA-256 differs, and BlobError if it cannot be read."""
    data = blobs.get(BlobUri.parse(file.uri), max_bytes=max_bytes)
    digest = hashlib.sha256(data).hexdigest()
    if digest != file.sha256:
        raise error(f"{file.uri} has changed: its SHA-256 is {digest}, not {file.sha256}.")
    return data


def fetch_checkpoint(blobs: BlobStore, file: StoredFile) -> Checkpoint:
    """Return a checkpoint; raise WeightsError if it is damaged."""
    return parse_checkpoint(fetch(blobs, file), name=f"The checkpoint {file.uri}")


def put_file(blobs: BlobStore, uri: str, data: bytes, *, content_type: str = "application/octet-stream") -> StoredFile:
    """Write a file and return its description."""
    blobs.put(BlobUri.parse(uri), data, content_type=content_type)
    return StoredFile(uri=uri, sha256=hashlib.sha256(data).hexdigest())


def fetch_initial(blobs: BlobStore, file: StoredFile) -> tuple[TransformerNet, dict[str, Any]]:
    """Return the whole network of a weights file or of a checkpoint, and the latter's origin, empty for weights.

    Raises WeightsError if the file is damaged.
    """
    data = fetch(blobs, file)
    if not _is_checkpoint(data):
        return load_transformer_bytes(data, name=file.uri, style=None), {}
    checkpoint = parse_checkpoint(data, name=f"The checkpoint {file.uri}")
    return transformer_of(checkpoint, name=file.uri), checkpoint.origin


def transformer_of(checkpoint: Checkpoint, *, name: str) -> TransformerNet:
    """Return a checkpoint's network in eval mode; raise WeightsError if its tensors do not fit its config."""
    state = {key.removeprefix(_PREFIX): tensor for key, tensor in checkpoint.tensors.items() if key.startswith(_PREFIX)}
    try:
        with torch.device("meta"):  # the tensors of the checkpoint take their place
            net = TransformerNet(checkpoint.config.transformer)
        net.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"The checkpoint {name} cannot be used: {error}") from error
    return net.eval().requires_grad_(False)


def _is_checkpoint(data: bytes) -> bool:
    try:
        return TRAINING_KEY in read_header(data, name="The file").metadata
    except WeightsError:
        return False
