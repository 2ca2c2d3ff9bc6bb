"""Tests of nst_core.nets.weights_header."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save

from nst_core.errors import WeightsError
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.weights import load_transformer_bytes, save_transformer
from nst_core.nets.weights_header import CONFIG_KEY, read_config

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = TransformerConfig(width=4, blocks=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_transformer(TransformerNet(SMALL), tmp_path / "style.safetensors")
    return tmp_path / "style.safetensors"


def with_config(path: Path, text: str | None) -> bytes:
    metadata = {"format": "pt"} if text is None else {CONFIG_KEY: text}
    return save(load(path.read_bytes()), metadata)


def header_of(data: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header


def with_header(data: bytes, header: Any) -> bytes:
    """Return a file with another header and the same tensors."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + int.from_bytes(data[:8], "little") :]


def test_the_config_is_read_from_the_header_alone(path: Path) -> None:
    with open(path, "rb") as file:
        assert read_config(file) == SMALL


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("shape", [3, 4, 9, 9]),
        ("shape", 7),
        ("shape", None),
        ("dtype", "I32"),
        ("dtype", "F32"),
        ("dtype", ["F16"]),
        ("data_offsets", [0]),
        ("data_offsets", ["a", "b"]),
        ("data_offsets", [0, 10]),
        ("data_offsets", [-1944, 0]),
        ("data_offsets", [4, 1948]),
    ],
)
def test_a_header_that_does_not_fit_the_file_is_refused_unread(path: Path, field: str, value: Any) -> None:
    header = header_of(path.read_bytes())
    assert header["down1.conv.weight"]["data_offsets"] == [0, 1944]
    header["down1.conv.weight"][field] = value
    with pytest.raises(WeightsError, match=r"^a\.safetensors cannot be loaded: "):
        read_config(BytesIO(with_header(path.read_bytes(), header)), name="a.safetensors")


@pytest.mark.parametrize("entry", [None, [], 7, {}])
def test_a_tensor_without_a_valid_description_is_refused(path: Path, entry: Any) -> None:
    header = header_of(path.read_bytes()) | {"head.bias": entry}
    with pytest.raises(WeightsError, match=r"does not describe head\.bias"):
        read_config(BytesIO(with_header(path.read_bytes(), header)))


@pytest.mark.parametrize("change", [b"x", None])
def test_a_file_that_is_too_long_or_too_short_is_refused(path: Path, change: bytes | None) -> None:
    data = path.read_bytes()
    changed = data + change if change else data[:-1]
    with pytest.raises(WeightsError, match="damaged or not whole"):
        read_config(BytesIO(changed))


def test_a_header_that_is_nested_too_deeply_is_refused(path: Path) -> None:
    text = b"[" * 500_000
    with pytest.raises(WeightsError, match="not a JSON object"):
        read_config(BytesIO(len(text).to_bytes(8, "little") + text))


def test_a_huge_config_is_refused_before_memory_is_taken(path: Path) -> None:
    with pytest.raises(WeightsError):  # would be 19 GB of weights
        load_transformer_bytes(with_config(path, json.dumps({"width": 512, "blocks": 64})))
