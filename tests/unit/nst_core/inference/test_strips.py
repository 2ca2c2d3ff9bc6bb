"""Tests of nst_core.inference.strips: a picture in strips is the picture as a whole."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest
import torch

from nst_core.inference.any_size import AnySizeStylizer, Engine
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.likeness import psnr_db
from nst_core.inference.native_engine import NativeStylizer
from nst_core.inference.openvino_compiled import precisions
from nst_core.inference.openvino_engine import OpenvinoStylizer
from nst_core.inference.row_ranges import Rows
from nst_core.inference.strips import LargePicture, StoredMap, StripSize, supports
from nst_core.inference.stylizer import Pixels
from nst_core.nets.costs import BASE_BYTES, STRIP_ROOM, strips_bytes
from nst_core.nets.families import without_palettes
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.weights import load_transformer_bytes
from nst_core.styles import shipped_styles
from tests.unit.nst_core.inference.test_openvino_graph import photo
from tests.unit.nst_core.nets.native_kit import needs_compiler

#: All kinds of sizes: multiples of 4, odd at full, half and both sizes, and one with a strip of a few rows at its end.
SIZES = [(192, 64), (191, 65), (190, 66), (195, 97)]
NATIVE = pytest.param(NativeStylizer, marks=needs_compiler)


@cache
def shipped_net() -> TransformerNet:
    """Return the network of a shipped style, without its palette, which would spread the levels that differ."""
    return without_palettes(load_transformer_bytes(shipped_styles()[0].weights()))


@cache
def other_net() -> TransformerNet:
    """Return a network of another kind that can be cut."""
    torch.manual_seed(1)
    net = TransformerNet(TransformerConfig(width=32, blocks=0, crop="end", output="linear", norm_eps=1e-3)).eval()
    net.head.weight.data.mul_(10)
    return net


@cache
def engine_of(kind: Callable[[TransformerNet], Engine], make: Callable[[], TransformerNet]) -> Any:
    """Return an engine, whose passes are compiled once for all tests."""
    return kind(make())


def cut(engine: Engine, picture: Pixels, in_memory: int = 2**31) -> Pixels:
    """Return the picture in strips of 64 rows."""
    large = LargePicture(
        engine.config,
        engine.tensors,
        picture[0],
        engine.run_pass,
        size=StripSize(pixels=64 * picture.shape[2]),
        in_memory_bytes=in_memory,
    )
    return large.picture()[None]


def whole(make: Callable[[], TransformerNet], picture: Pixels) -> Pixels:
    """Return the picture that the reference makes, with the grain of the network."""
    return AnySizeStylizer(engine_of(EagerStylizer, make))(picture)


@pytest.mark.parametrize("engine", [EagerStylizer, OpenvinoStylizer, NATIVE])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [shipped_net, other_net])
def test_strips_make_the_picture_of_the_whole(engine: Any, size: tuple[int, int], make: Any) -> None:
    stylizer, picture = engine_of(engine, make), photo(*size)
    expected = whole(make, picture)
    difference = np.abs(cut(stylizer, picture).astype(int) - expected)
    assert difference.max() <= 1
    # No seams: differences are rounding errors, no more of them at the edges of strips than elsewhere.
    by_row = (difference > 0).mean((0, 2, 3))
    assert by_row.max() < 0.15


@needs_compiler
@pytest.mark.parametrize("size", [(384, 64), (383, 65), (450, 131), (261, 2050)])
@pytest.mark.parametrize("make", [lambda: load_transformer_bytes(shipped_styles()[0].weights()), other_net])
def test_strips_in_integers_have_the_bytes_of_the_whole(make: Any, size: tuple[int, int]) -> None:
    """The same values are rounded together, and statistics are those of the same parts, put together in float64."""
    stylizer = NativeStylizer(make(), precision="int16")
    large = LargePicture(
        stylizer.config,
        stylizer.tensors,
        photo(*size)[0],
        stylizer.run_pass,
        size=replace(stylizer.strip_size, pixels=1),
    )
    assert np.array_equal(large.picture(), AnySizeStylizer(stylizer)(photo(*size))[0])


@pytest.mark.parametrize("engine", [EagerStylizer, OpenvinoStylizer, NATIVE])
@pytest.mark.parametrize("size", [(16, 40), (17, 41), (24, 40), (35, 42), (49, 43), (70, 47)])
def test_strips_of_16_rows_make_the_picture_of_the_whole(engine: Any, size: tuple[int, int]) -> None:
    stylizer, picture = engine_of(engine, other_net), photo(*size)
    strip = replace(stylizer.strip_size, pixels=1, rows=16, multiple=16)
    large = LargePicture(stylizer.config, stylizer.tensors, picture[0], stylizer.run_pass, size=strip)
    difference = np.abs(large.picture().astype(int) - whole(other_net, picture)[0])
    assert difference.max() <= 1


ENGINES: list[Any] = [EagerStylizer, OpenvinoStylizer, NativeStylizer]


@pytest.mark.parametrize("engine", ENGINES)
def test_strips_of_usual_photos_have_as_many_rows_as_ever(engine: Any) -> None:
    """Others would be other bytes."""
    size = engine.strip_size
    for width in (16, 640, 4000, 8192, 10_000, 12_000):
        assert size.rows_for(width) == max(size.rows, size.pixels // width // size.multiple * size.multiple)


@pytest.mark.parametrize("engine", ENGINES)
def test_strips_of_wide_photos_have_fewer_rows(engine: Any) -> None:
    size = engine.strip_size
    for width in (16, 640, 8192, 12_000, 13_000, 21_000, 22_000, 28_000):
        rows = size.rows_for(width)
        assert rows >= 16
        assert rows % (4 * size.tile) == 0
        assert all(size.room(height, width) <= STRIP_ROOM for height in (16, 24, 100, 4_000, 4_040, 4_050))
    assert size.rows_for(10**6) == 16
    assert size.room(200, 10**6) > 10 * STRIP_ROOM


MEASURE = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np, torch
from nst_core.inference import eager, native_engine, openvino_engine, strips
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.system.memory import resident_bytes
torch.set_num_threads(2)
kinds = {"EagerStylizer": eager, "NativeStylizer": native_engine, "OpenvinoStylizer": openvino_engine}
engine = getattr(kinds[sys.argv[1]], sys.argv[1])(TransformerNet(TransformerConfig(blocks=1)).eval())
size = replace(engine.strip_size, pixels=1, rows=16, multiple=16)

def paint(height, width):
    photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    strips.LargePicture(engine.config, engine.tensors, photo, engine.run_pass, size=size).picture()

paint(64, 64)  # what is loaded at the first picture
Path("/proc/self/clear_refs").write_text("5")  # the most begins here
before = resident_bytes()
paint(40, 8000)
status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
print(int(status["VmHWM"].split()[0]) * 1024 - before, size.room(40, 8000))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "engine", ["EagerStylizer", "OpenvinoStylizer", pytest.param("NativeStylizer", marks=needs_compiler)]
)
def test_a_strip_of_a_wide_photo_takes_no_more_memory_than_it_counts(engine: str) -> None:
    script = [sys.executable, "-c", MEASURE, engine]
    done = subprocess.run(script, cwd=Path(__file__).parents[5], capture_output=True, text=True, check=True)
    measured, room = map(int, done.stdout.split())
    config = TransformerConfig(blocks=1)
    maps = 2 * 2 * 4 * config.width * 40 * 8000 // 16
    beside = maps + 6 * 40 * 8000
    counted = strips_bytes(config, 0, room=room) - strips_bytes(config, 0, room=0)
    assert counted / 4 < measured - beside <= counted + BASE_BYTES / 4  # some kernels are compiled too


def test_maps_in_files_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stylizer, picture = engine_of(EagerStylizer, shipped_net), photo(256, 64)
    in_memory = cut(stylizer, picture)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert np.array_equal(in_memory, cut(stylizer, picture, in_memory=0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", precisions())
def test_every_precision_of_this_machine_is_close(precision: Any) -> None:
    picture = photo(320, 256)
    result = cut(OpenvinoStylizer(shipped_net(), precision=precision), picture)
    assert psnr_db(result, whole(shipped_net, picture)) > 40


@pytest.mark.parametrize("engine", [EagerStylizer, OpenvinoStylizer, NATIVE])
def test_a_flat_picture_in_strips_is_that_of_the_whole(engine: Any) -> None:
    flat = np.full((1, 256, 64, 3), (200, 30, 77), np.uint8)
    expected = whole(shipped_net, flat)
    assert np.abs(cut(engine_of(engine, shipped_net), flat).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_stored_map_keeps_rows(in_memory: bool) -> None:
    with TemporaryFile() as file:
        stored = StoredMap((20, 4, 6), file=None if in_memory else file)
        values = np.random.default_rng(0).normal(size=(20, 4, 6)).astype(np.float16)
        stored.write(Rows(0, 12), values[:12])
        stored.write(Rows(12, 20), values[12:])
        assert np.array_equal(stored.read(Rows(5, 17)), values[5:17])
        # As a kernel leaves them: rows of a larger array, in another order.
        stored.write(Rows(3, 5), values.transpose(0, 2, 1).copy()[7:9].transpose(0, 2, 1))
        assert np.array_equal(stored.read(Rows(2, 6)), values[[2, 7, 8, 5]])


@pytest.mark.parametrize(
    ("fields", "cuts"),
    [
        ({}, True),
        ({"crop": "end"}, True),
        ({"crop": "start"}, False),
        ({"norm": "batch"}, False),
        ({"padding": "zero"}, False),
        ({"upsample": "transposed"}, False),
        ({"head_norm": True}, False),
    ],
)
def test_kinds_of_networks(fields: Mapping[str, Any], cuts: bool) -> None:
    assert supports(TransformerConfig.from_dict({"width": 8, **fields})) is cuts
