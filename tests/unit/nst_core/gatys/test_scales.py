"""The sizes of an optimisation, and pictures and guides resized to them."""

import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError, ImageTooLargeError, ImageTooSmallError
from nst_core.gatys.config import GatysConfig
from nst_core.gatys.scales import (
    check_guide,
    check_picture,
    fitted,
    resize,
    resize_guide,
    scale_sizes,
    size_of,
    style_size,
)
from tests.unit.nst_core.gatys.kit import photo

pytestmark = pytest.mark.usefixtures("one_thread")

MANY = 10_000_000


def config(**fields: object) -> GatysConfig:
    return GatysConfig.from_dict({"content": {"relu4_2": 1.0}} | fields)


@pytest.mark.parametrize(
    ("size", "long_side_px", "expected"),
    [((30, 40), 80, (60, 80)), ((40, 30), 20, (20, 15)), ((1, 1000), 100, (1, 100)), ((33, 50), 50, (33, 50))],
)
def test_the_longest_side_is_as_asked_and_proportions_stay(
    size: tuple[int, int], long_side_px: float, expected: tuple[int, int]
) -> None:
    assert fitted(size, long_side_px) == expected


def test_sizes_go_from_coarse_to_fine_and_end_at_the_one_asked_for() -> None:
    sizes = scale_sizes(config(size_px=512, scales=3), (300, 400), max_pixels=MANY)
    assert sizes == [(96, 128), (192, 256), (384, 512)]
    sizes = scale_sizes(config(size_px=270, scales=3, scale_ratio=1.5), (270, 180), max_pixels=MANY)
    assert sizes == [(120, 80), (180, 120), (270, 180)]


def test_without_a_size_the_picture_keeps_its_own() -> None:
    assert scale_sizes(config(size_px=None), (301, 407), max_pixels=MANY) == [(301, 407)]


def test_sizes_too_small_for_the_network_are_left_out() -> None:
    assert scale_sizes(config(size_px=64, scales=16), (32, 64), max_pixels=MANY) == [(8, 16), (16, 32), (32, 64)]


def test_a_last_size_beyond_the_limits_is_refused() -> None:
    assert scale_sizes(config(size_px=None), (8, 8), max_pixels=64) == [(8, 8)]
    with pytest.raises(ImageTooSmallError, match=r"9 x 7 .* 8\.$"):
        scale_sizes(config(size_px=None), (7, 9), max_pixels=MANY)
    with pytest.raises(ImageTooLargeError, match=r"9 x 8 .* 71 "):
        scale_sizes(config(size_px=None, scales=4), (8, 9), max_pixels=71)


def test_styles_are_as_large_as_the_result_and_shrink_with_it() -> None:
    def sized(**fields: object) -> list[tuple[int, int]]:
        contents = [(96, 128), (192, 256)]
        return [
            style_size(config(**fields), (1000, 500), content=content, last=contents[-1], max_pixels=MANY)
            for content in contents
        ]

    assert sized() == [(128, 64), (256, 128)]
    assert sized(style_scale=0.5) == [(64, 32), (128, 64)]
    assert sized(style_size_px=400) == [(200, 100), (400, 200)]


def test_a_style_beyond_the_limits_is_refused() -> None:
    def sized(style: tuple[int, int]) -> tuple[int, int]:
        return style_size(config(), style, content=(64, 64), last=(64, 64), max_pixels=4000)

    assert sized((1, 2)) == (32, 64)
    with pytest.raises(ImageTooLargeError, match="style"):
        sized((1000, 1000))
    with pytest.raises(ImageTooSmallError, match="style"):
        sized((1, 100))


def test_a_picture_of_the_right_size_is_unchanged_and_others_stay_in_range() -> None:
    image = photo("astronaut")
    assert resize(image, size_of(image)) is image
    edge = torch.zeros(1, 3, 16, 16)
    edge[..., 8:] = 1
    for size in ((5, 7), (40, 33)):
        resized = resize(edge, size)
        assert size_of(resized) == size
        assert 0 <= resized.min() < 0.05 < 0.95 < resized.max() <= 1
        assert resized.mean().item() == pytest.approx(0.5, abs=0.02)


def test_a_guide_is_averaged_over_each_new_position() -> None:
    guide = torch.arange(16.0).view(1, 1, 4, 4) / 16
    expected = guide.view(2, 2, 2, 2).mean((1, 3)).view(1, 1, 2, 2)
    torch.testing.assert_close(resize_guide(guide, (2, 2)), expected)
    one = torch.zeros(1, 1, 50, 50)
    one[..., 49, 17] = 1
    assert resize_guide(one, (3, 3)).any()


@pytest.mark.parametrize(
    "image",
    [
        torch.rand(3, 8, 8),
        torch.rand(2, 3, 8, 8),
        torch.rand(1, 1, 8, 8),
        torch.rand(1, 4, 8, 8),
        torch.rand(1, 3, 0, 8),
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        torch.rand(1, 3, 8, 8) / 0,
        torch.full((1, 3, 8, 8), torch.nan),
    ],
)
def test_a_value_that_is_not_a_picture_is_refused_by_name(image: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"^The painting (must be|has values)"):
        check_picture("The painting", image)


def test_pictures_of_any_floating_type_are_accepted() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        check_picture("The painting", photo("coffee").to(dtype))


@pytest.mark.parametrize(
    "guide",
    [
        torch.ones(1, 1, 8, 9),
        torch.ones(1, 3, 8, 8),
        torch.ones(8, 8),
        torch.zeros(1, 1, 8, 8),
        torch.full((1, 1, 8, 8), 1.5),
        torch.full((1, 1, 8, 8), -0.5),
        torch.full((1, 1, 8, 8), torch.nan),
        torch.ones(1, 1, 8, 8, dtype=torch.uint8),
    ],
)
def test_a_value_that_is_not_a_guide_is_refused_by_name(guide: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"^The region must"):
        check_guide("The region", guide, (8, 8))


def test_a_guide_or_none_of_the_right_size_is_accepted() -> None:
    check_guide("The region", None, (8, 8))
    check_guide("The region", torch.eye(8)[None, None], (8, 8))
