"""Patch matching, compared with an exhaustive search."""

import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError
from nst_core.losses.patches import match_patches
from tests.unit.nst_core.losses.samples import normal

pytestmark = pytest.mark.usefixtures("one_thread")

PLENTY = 1 << 30


def corners(features: Tensor, patch: tuple[int, int], stride: int) -> list[list[tuple[int, int]]]:
    """Return the tops and lefts of all patches, by row and column."""
    _, height, width = features.shape
    return [[(y, x) for x in range(0, width - patch[1] + 1, stride)] for y in range(0, height - patch[0] + 1, stride)]


def best_by_hand(features: Tensor, style: Tensor, patch: tuple[int, int], stride: int) -> list[list[tuple[int, int]]]:
    """Return the style's patch of the largest normalised cross-correlation with each patch."""
    candidates = [corner for row in corners(style, patch, stride) for corner in row]

    def cut(values: Tensor, corner: tuple[int, int]) -> Tensor:
        return values[:, corner[0] : corner[0] + patch[0], corner[1] : corner[1] + patch[1]].flatten()

    def similarity(corner: tuple[int, int], candidate: tuple[int, int]) -> float:
        ours, theirs = cut(features, corner), cut(style, candidate)
        return float((ours * theirs).sum() / (ours.square().sum() * theirs.square().sum()).sqrt())

    return [
        [max(candidates, key=lambda candidate: similarity(corner, candidate)) for corner in row]
        for row in corners(features, patch, stride)
    ]


def matched(top: Tensor, left: Tensor) -> list[list[tuple[int, int]]]:
    return [list(zip(*rows, strict=True)) for rows in zip(top.tolist(), left.tolist(), strict=True)]


@pytest.mark.parametrize("patch", [(3, 3), (1, 1), (2, 3), (5, 4)])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_best_patch_is_found(patch: tuple[int, int], stride: int) -> None:
    features, style = normal(4, 8, 7), normal(4, 6, 9, seed=1)
    top, left = match_patches(features, style, patch=patch, stride=stride, max_bytes=PLENTY)
    assert matched(top, left) == best_by_hand(features, style, patch, stride)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("rows", [9, 12, 20, 30, 1000])
def test_the_memory_limit_does_not_change_the_result(rows: int, stride: int) -> None:
    features, style = normal(4, 11, 7), normal(4, 13, 9, seed=1)
    expected = match_patches(features, style, patch=(3, 3), stride=stride, max_bytes=PLENTY)
    allowed = 3 * 8 * 7 * 9 * rows
    top, left = match_patches(features, style, patch=(3, 3), stride=stride, max_bytes=allowed)
    assert torch.equal(top, expected[0])
    assert torch.equal(left, expected[1])


def test_the_memory_limit_is_kept() -> None:
    features, style = normal(1, 40, 30).float(), normal(1, 40, 30, seed=1).float()
    allowed = 3 * 4 * 30 * 30 * 50
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        match_patches(features, style, patch=(3, 3), stride=1, max_bytes=allowed)
    held = peak = 0
    for event in profile.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    assert peak < allowed + 40 * 30 * 4 * 20  # and some maps with the size of the features


def test_too_little_memory_is_refused() -> None:
    features, style = normal(4, 8, 7), normal(4, 6, 9, seed=1)
    needed = 3 * 8 * 7 * 9 * 9
    match_patches(features, style, patch=(3, 3), stride=1, max_bytes=needed)
    with pytest.raises(ConfigError, match=f"need {needed} bytes"):
        match_patches(features, style, patch=(3, 3), stride=1, max_bytes=needed - 1)


def test_brightness_does_not_decide() -> None:
    """A bright patch has a larger product with everything, but the patch with the same direction is chosen."""
    features = torch.tensor([1.0, 2.0])[:, None, None]
    style = torch.tensor([[100.0, 0.1], [0.0, 0.2]])[:, None]
    top, left = match_patches(features, style, patch=(1, 1), stride=1, max_bytes=PLENTY)
    assert matched(top, left) == [[(0, 1)]]


def test_a_patch_of_zeros_is_better_only_than_an_opposite_one() -> None:
    features = torch.tensor([[-1.0, 1.0]])[:, None]
    style = torch.tensor([[0.0, 2.0]])[:, None]
    _, left = match_patches(features, style, patch=(1, 1), stride=1, max_bytes=PLENTY)
    assert left.tolist() == [[0, 1]]


def test_autocast_changes_nothing() -> None:
    features, style = normal(8, 12, 12).float(), normal(8, 12, 12, seed=1).float()
    expected = match_patches(features, style, patch=(3, 3), stride=1, max_bytes=PLENTY)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        top, left = match_patches(features, style, patch=(3, 3), stride=1, max_bytes=PLENTY)
    assert torch.equal(top, expected[0])
    assert torch.equal(left, expected[1])
