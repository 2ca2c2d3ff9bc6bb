"""Tests of nst_core.nets.safetensors_header."""

import io

import pytest
import torch
from safetensors.torch import save

from nst_core.errors import WeightsError
from nst_core.nets.safetensors_header import MAX_HEADER_BYTES, parse_object, read_header

FILE = save({"a": torch.zeros(2, 3)}, {"key": "text"})


def test_header_has_metadata_and_tensors() -> None:
    header = read_header(FILE, name="The file")
    assert header.metadata == {"key": "text"}
    assert header.tensors == {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    assert header.data_bytes == 24
    assert read_header(io.BytesIO(FILE), name="The file") == header


def test_file_without_metadata_has_none() -> None:
    assert read_header(save({"a": torch.zeros(1)}), name="The file").metadata == {}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"12345678",
        FILE[:20],
        (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + b" " * (MAX_HEADER_BYTES + 1),
        (2).to_bytes(8, "little") + b"[]",
        (4).to_bytes(8, "little") + b"text",
    ],
    ids=["empty", "no header", "cut off", "huge header", "list", "text"],
)
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(WeightsError, match="The file is not a safetensors file"):
        read_header(data, name="The file")


@pytest.mark.parametrize("text", ["", "[1]", "{", "1", None, "[" * 100_000])
def test_texts_without_an_object_have_none(text: str | None) -> None:
    assert parse_object(text) is None
