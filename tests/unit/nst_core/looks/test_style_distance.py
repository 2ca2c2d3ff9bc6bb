"""Distances to a painting, compared with their formulas."""

import numpy as np
import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError
from nst_core.looks.style_distance import StyleDistance


def features(seed: int, height: int = 6, width: int = 7) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {layer: torch.rand(1, 5, height, width, generator=random) for layer in ("a", "b")}


def test_distances_are_those_of_the_formulas() -> None:
    painting, picture = features(0), features(1, 4, 9)
    found = StyleDistance({512: painting})(picture)
    for layer, distance in found.items():
        own, style = (each[layer][0].flatten(1).double().numpy() for each in (picture, painting))
        gram, target = own @ own.T / own.shape[1], style @ style.T / style.shape[1]
        assert distance.gram == pytest.approx(np.linalg.norm(gram - target) / np.linalg.norm(target), rel=1e-4)
        moments, wanted = (np.concatenate([each.mean(axis=1), each.std(axis=1)]) for each in (own, style))
        assert distance.moments == pytest.approx(np.linalg.norm(moments - wanted) / np.linalg.norm(wanted), rel=1e-4)


def test_the_painting_itself_has_no_distance() -> None:
    found = StyleDistance({512: features(0)})(features(0))
    assert found == {"a": (0, 0), "b": (0, 0)}


def test_the_place_of_things_does_not_matter() -> None:
    painting = features(0)
    moved = {layer: values.flip(2).roll(3, 3) for layer, values in painting.items()}
    assert all(max(distance) < 1e-5 for distance in StyleDistance({512: painting})(moved).values())


def test_the_nearest_size_of_the_painting_counts() -> None:
    near, far = features(0), features(2)
    both = StyleDistance({384: far, 768: near})(features(1))
    alone = [StyleDistance({512: each})(features(1)) for each in (near, far)]
    for layer, distance in both.items():
        assert distance.gram == min(each[layer].gram for each in alone)
        assert distance.moments == min(each[layer].moments for each in alone)


def test_a_painting_without_a_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one size"):
        StyleDistance({})
