"""Weights files: round trips, and all kinds of invalid files."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from nst_core.errors import WeightsError
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.weights import dump_transformer, load_transformer, load_transformer_bytes, save_transformer
from nst_core.nets.weights_header import CONFIG_KEY
from nst_core.styles import ShippedStyle, shipped_styles
from tests.unit.nst_core.nets.test_transformer import VARIANTS

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = TransformerConfig(width=4, blocks=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_transformer(TransformerNet(SMALL), tmp_path / "style.safetensors")
    return tmp_path / "style.safetensors"


@pytest.mark.parametrize("config", VARIANTS)
def test_a_network_survives_a_file_round_trip(config: TransformerConfig, tmp_path: Path) -> None:
    net = TransformerNet(config)
    save_transformer(net, tmp_path / "n.safetensors")
    loaded = load_transformer(tmp_path / "n.safetensors")
    assert loaded.config == config
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    expected = net.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for key, value in loaded.state_dict().items():
        assert value.dtype == expected[key].dtype
        torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-6)  # stored as float16


@pytest.mark.parametrize("config", VARIANTS)
def test_float32_keeps_every_bit(config: TransformerConfig, tmp_path: Path) -> None:
    net = TransformerNet(config)
    save_transformer(net, tmp_path / "n.safetensors", dtype=torch.float32)
    expected = net.state_dict()
    loaded = load_transformer(tmp_path / "n.safetensors").state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in loaded.items())


@pytest.mark.parametrize("style", shipped_styles(), ids=lambda style: style.name)
def test_the_headers_of_shipped_styles_are_reproduced_exactly(style: ShippedStyle) -> None:
    # A style's version is the hash of its file, so these files must not change when a config gets new fields.
    text = header_of(style.weights())["__metadata__"][CONFIG_KEY]
    assert json.dumps(load_transformer_bytes(style.weights(), style=None).config.to_dict(), sort_keys=True) == text


def test_a_loaded_network_runs_and_can_be_moved(path: Path) -> None:
    net = load_transformer(path).to(memory_format=torch.channels_last)
    assert net(torch.rand(1, 3, 20, 20)).isfinite().all()


def test_long_batch_statistics_keep_their_count(tmp_path: Path) -> None:
    net = TransformerNet(TransformerConfig(width=4, blocks=0, norm="batch"))
    counter = net.down1.norm.get_buffer("num_batches_tracked")
    counter.fill_(100_001)  # beyond the range of float16
    save_transformer(net, tmp_path / "n.safetensors")
    loaded = load_transformer(tmp_path / "n.safetensors")
    assert int(loaded.down1.norm.get_buffer("num_batches_tracked")) == 100_001


def test_a_file_is_written_completely_or_not_at_all(path: Path) -> None:
    assert [p.name for p in path.parent.iterdir()] == ["style.safetensors"]


def test_a_file_whose_name_has_another_suffix_is_left_alone(path: Path) -> None:
    path.with_suffix(".part").write_bytes(b"of another")
    save_transformer(TransformerNet(SMALL), path)
    assert path.with_suffix(".part").read_bytes() == b"of another"


def test_the_same_network_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    for _ in range(20):
        save_transformer(load_transformer(path), tmp_path / "again.safetensors")
        assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_bytes_load_like_the_file(path: Path) -> None:
    a, b = load_transformer(path), load_transformer_bytes(path.read_bytes())
    assert a.config == b.config
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_a_missing_file_is_a_weights_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"none\.safetensors cannot be read: No such file"):
        load_transformer(tmp_path / "none.safetensors")


def with_config(path: Path, text: str | None) -> bytes:
    metadata = {"format": "pt"} if text is None else {CONFIG_KEY: text}
    return save(load(path.read_bytes()), metadata)


def test_a_header_without_a_config_is_refused(path: Path) -> None:
    with pytest.raises(WeightsError, match=f"no {CONFIG_KEY}"):
        load_transformer_bytes(with_config(path, None))
    with pytest.raises(WeightsError, match=f"no {CONFIG_KEY}"):
        load_transformer_bytes(save(load(path.read_bytes())))


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '{"depth": 3}', '{"width": "wide"}', '{"norm": []}'])
def test_an_invalid_config_is_refused(path: Path, text: str) -> None:
    with pytest.raises(WeightsError):
        load_transformer_bytes(with_config(path, text))


@pytest.mark.parametrize("change", [{"width": 8}, {"blocks": 2}, {"blocks": 0}, {"norm": "batch"}, {"width": 512}])
def test_tensors_that_do_not_fit_the_config_are_refused(path: Path, change: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_transformer_bytes(with_config(path, json.dumps(SMALL.to_dict() | change)))


def header_of(data: bytes) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header


@settings(max_examples=200, deadline=None)
@given(draw=st.data())
def test_a_damaged_file_gives_a_network_or_a_weights_error(
    draw: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    if not file.exists():
        save_transformer(TransformerNet(SMALL), file)
    data = bytearray(file.read_bytes())
    for _ in range(draw.draw(st.integers(0, 4))):
        data[draw.draw(st.integers(0, 3000))] = draw.draw(st.integers(0, 255))
    del data[draw.draw(st.just(len(data)) | st.integers(0, len(data))) :]
    try:
        load_transformer_bytes(bytes(data))
    except WeightsError as error:
        message = error.message
    else:
        message = ""
    assert not message or message.startswith("The weights file")


@pytest.mark.parametrize("data", [b"", b"\0" * 8, b"\xff" * 100, b"PK\3\4" + bytes(100)])
def test_a_file_that_is_not_weights_is_refused(data: bytes) -> None:
    with pytest.raises(WeightsError):
        load_transformer_bytes(data)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_writing_a_network_always_gives_the_same_file(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = TransformerNet(SMALL)
    data = dump_transformer(net, dtype=dtype)
    save_transformer(net.to(memory_format=torch.channels_last), tmp_path / "n.safetensors", dtype=dtype)
    assert (tmp_path / "n.safetensors").read_bytes() == data
    # Loading and dumping it again gives the same file, so the version of a style does not change.
    assert dump_transformer(load_transformer_bytes(data), dtype=dtype) == data
