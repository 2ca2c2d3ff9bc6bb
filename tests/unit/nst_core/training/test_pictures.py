"""Style pictures and samples: size, orientation, and clear errors for unusable files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nst_core.errors import ConfigError, ImageDecodeError, ImageFormatError, ImageTooSmallError
from nst_core.inference.engines import load_stylizer
from nst_core.nets.families import with_palettes
from nst_core.nets.tensors import to_tensor
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.transformer_config import PALETTE_NUMBERS
from nst_core.nets.weights import dump_transformer
from nst_core.training.pictures import (
    SAMPLE_MAX_PX,
    dump_sample,
    load_sample,
    load_style,
    parse_sample,
    parse_style,
    save_sample,
    stylized,
)
from tests.unit.nst_core.training.kit import encoded, soft_picture

pytestmark = pytest.mark.usefixtures("one_thread")


def saved(path: Path, image: Image.Image) -> Path:
    image.save(path)
    return path


@pytest.mark.parametrize(("width", "height", "expected"), [(80, 40, (32, 64)), (30, 60, (64, 32)), (20, 20, (64, 64))])
def test_a_style_has_its_longest_side(tmp_path: Path, width: int, height: int, expected: tuple[int, int]) -> None:
    style = load_style(saved(tmp_path / "style.png", soft_picture(0, width, height)), size_px=64)
    assert style.shape == (1, 3, *expected)
    assert style.dtype == torch.float32
    assert 0 <= style.min() <= style.max() <= 1


def test_a_style_without_colours_or_with_opacity_is_rgb(tmp_path: Path) -> None:
    for mode in ("L", "1", "P", "RGBA", "LA"):
        style = load_style(saved(tmp_path / "style.png", soft_picture(0).convert(mode)), size_px=64)
        assert style.shape == (1, 3, 48, 64)


def test_a_style_that_is_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageTooSmallError, match=r"style.png: .*3 x 3"):
        load_style(saved(tmp_path / "style.png", soft_picture(0, 3, 3)), size_px=512)
    with pytest.raises(ImageTooSmallError, match="longest side of 64 pixels the painting has 64 x 13"):
        load_style(saved(tmp_path / "style.png", soft_picture(0, 200, 40)), size_px=64)


def test_a_file_that_is_not_a_picture_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "style.jpg"
    with pytest.raises(ConfigError, match=r"style.jpg cannot be read: No such file"):
        load_style(path, size_px=64)
    for data, error in (
        (b"", ImageDecodeError),
        (b"This is no picture.", ImageDecodeError),
        (b"%PDF-1.7", ImageFormatError),
    ):
        path.write_bytes(data)
        for load in (load_sample, lambda path: load_style(path, size_px=64)):
            with pytest.raises(error, match=r"style.jpg: "):
                load(path)


def test_a_large_sample_is_reduced(tmp_path: Path) -> None:
    sample = load_sample(saved(tmp_path / "sample.jpg", soft_picture(0, 2 * SAMPLE_MAX_PX, 200)))
    assert sample.shape == (1, 3, 100, SAMPLE_MAX_PX)


def test_a_saved_sample_is_the_picture(tmp_path: Path) -> None:
    picture = load_sample(saved(tmp_path / "sample.png", soft_picture(0)))
    save_sample(np.array(soft_picture(0)), tmp_path / "out.jpg")
    assert float((load_sample(tmp_path / "out.jpg") - picture).abs().mean()) < 0.02
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jpg", "sample.png"]


def test_bytes_are_read_and_written_like_files(tmp_path: Path) -> None:
    path = saved(tmp_path / "picture.png", soft_picture(0, 80, 40))
    sample = load_sample(path)
    assert torch.equal(parse_sample(path.read_bytes(), name="x"), sample)
    assert torch.equal(parse_style(path.read_bytes(), size_px=64, name="x"), load_style(path, size_px=64))
    picture = np.array(soft_picture(0, 80, 40))
    save_sample(picture, tmp_path / "out.jpg")
    assert dump_sample(picture) == (tmp_path / "out.jpg").read_bytes()


def test_a_network_paints_as_engines_do_with_its_grain_and_its_palette() -> None:
    torch.manual_seed(0)
    net = TransformerNet(TransformerConfig(width=4, blocks=1, grain=6.0))
    net = with_palettes(net, torch.rand(PALETTE_NUMBERS) / 2)
    photo = np.array(soft_picture(1))
    engine = load_stylizer(dump_transformer(net, dtype=torch.float32))
    difference = np.abs(stylized(net, to_tensor(photo)).astype(int) - engine(photo[None])[0])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_errors_begin_with_the_name_that_bytes_were_given() -> None:
    with pytest.raises(ImageDecodeError, match=r"^The painting: "):
        parse_style(b"This is no picture.", size_px=64, name="The painting")
    with pytest.raises(ImageDecodeError, match=r"^s3://bucket/photo\.jpg: "):
        parse_sample(b"This is no picture.", name="s3://bucket/photo.jpg")
    narrow = encoded(soft_picture(0, 200, 40))
    with pytest.raises(ImageTooSmallError, match=r"^The painting: With a longest side of 64 pixels"):
        parse_style(narrow, size_px=64, name="The painting")
