"""The loss of a training: each term matches its equation, and only terms with a weight are computed."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from nst_core.errors import ConfigError
from nst_core.losses.gram import gram_matrix
from nst_core.nets.costs import STYLE_TILE_PIXELS
from nst_core.nets.feature_tiles import feature_tiles
from nst_core.nets.loss_network import LossNetwork, load_loss_network
from nst_core.nets.loss_weights import STD
from nst_core.nets.transformer import TransformerNet
from nst_core.training.config import Normalization, TrainConfig
from nst_core.training.objective import (
    MAX_SHIFT_PX,
    PerceptualObjective,
    grid_shift,
    moved,
    sparse_noise,
    style_grams,
)
from nst_core.training.step_losses import TERMS
from tests.unit.nst_core.training.kit import TINY, stripes

pytestmark = pytest.mark.usefixtures("one_thread")
_T = TypeVar("_T")

#: All pairs of a shift but (0, 0).
SHIFTS = [divmod(number, MAX_SHIFT_PX + 1) for number in range(1, (MAX_SHIFT_PX + 1) ** 2)]


class Lattice(nn.Module):
    """Adds a pattern to photos that stays at its pixels. `batches` has the sizes of its inputs."""

    def __init__(self, pattern: Tensor) -> None:
        super().__init__()
        self.pattern = pattern
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        rows, columns = (side // len(self.pattern) for side in images.shape[2:])
        return images + self.pattern.repeat(rows, columns)


def photos() -> Tensor:
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def objective(config: TrainConfig, network: LossNetwork) -> PerceptualObjective:
    torch.manual_seed(0)
    return PerceptualObjective(config, TransformerNet(config.transformer), network, stripes())


def terms(config: TrainConfig, network: LossNetwork, noise: Tensor | None = None) -> dict[str, Tensor]:
    return dict(zip(TERMS, objective(config, network)(photos(), noise), strict=True))


@pytest.mark.parametrize(
    ("gram", "factor"), [("hw", lambda c: 1), ("gatys", lambda c: 1 / 4), ("chw", lambda c: c**-2)]
)
def test_the_terms_match_their_equations(
    network: LossNetwork, gram: Normalization, factor: Callable[[int], float]
) -> None:
    config = replace(
        TINY,
        content_layer="relu2_1",
        content_weight=2.0,
        style_weights={"relu1_2": 3.0, "relu2_1": 5.0},
        gram=gram,
        tv_weight=7.0,
    )
    each = objective(config, network)
    content, style, tv, stability, shift, grid = each(photos())
    output = each.transformer(photos())
    ours, theirs, wanted = network(output), network(photos()), network(stripes())
    torch.testing.assert_close(content, 2.0 * (ours["relu2_1"] - theirs["relu2_1"]).square().mean())
    parts = [
        weight * factor(ours[layer].shape[1]) * (gram_matrix(ours[layer]) - gram_matrix(wanted[layer])).square().mean()
        for layer, weight in config.style_weights.items()
    ]
    torch.testing.assert_close(style, parts[0] + parts[1])
    torch.testing.assert_close(tv, 7.0 * (output.diff(dim=2).square().mean() + output.diff(dim=3).square().mean()))
    assert stability == shift == grid == 0


def test_total_variation_may_be_of_absolute_differences(network: LossNetwork) -> None:
    each = objective(replace(TINY, tv_weight=2.0, tv_kind="l1"), network)
    output = each.transformer(photos())
    expected = 2.0 * (output.diff(dim=2).abs().mean() + output.diff(dim=3).abs().mean())
    torch.testing.assert_close(each(photos())[2], expected)


def test_terms_without_a_weight_are_zero(network: LossNetwork) -> None:
    found = terms(replace(TINY, content_weight=0.0), network)
    assert found["content"] == found["tv"] == found["stability"] == found["shift"] == found["grid"] == 0
    assert found["style"] > 0


def test_stability_compares_outputs_with_and_without_noise(network: LossNetwork) -> None:
    config = replace(TINY, stability_weight=3.0)
    noise = 0.1 * torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    each = objective(config, network)
    expected = 3.0 * (each.transformer(photos() + noise) - each.transformer(photos())).square().mean()
    torch.testing.assert_close(each(photos(), noise)[3], expected)
    assert each(photos(), torch.zeros_like(noise))[3] == 0


def test_stability_pulls_the_noisy_output_to_the_clean_one_and_not_the_other_way(network: LossNetwork) -> None:
    each = objective(replace(TINY, stability_weight=1.0), network)
    weight = each.transformer.get_parameter("head.weight")
    noise = 0.1 * torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    each(photos(), noise)[3].backward()
    found = weight.grad
    assert found is not None
    each.transformer.zero_grad()
    with torch.no_grad():
        clean = each.transformer(photos())
    (each.transformer(photos() + noise) - clean).square().mean().backward()
    torch.testing.assert_close(found, weight.grad)


def shift_loss(transformer: nn.Module, shift: tuple[int, int], network: LossNetwork, config: TrainConfig) -> float:
    each = PerceptualObjective(config, transformer, network, stripes())
    with torch.no_grad():
        return float(each(photos(), None, torch.tensor(shift))[TERMS.index("shift")])


def test_the_shift_term_is_zero_for_a_network_that_moves_with_its_photo(network: LossNetwork) -> None:
    strokes = nn.Conv2d(3, 3, 5, padding=2)
    for shift in SHIFTS:
        assert shift_loss(strokes, shift, network, replace(TINY, shift_weight=1.0)) < 1e-10


@pytest.mark.parametrize("period", [2, 4])
def test_the_shift_term_is_about_twice_the_variance_of_a_lattice(network: LossNetwork, period: int) -> None:
    pattern = 0.1 * torch.randn(period, period, generator=torch.Generator().manual_seed(period))
    variance = float(pattern.var(correction=0))
    config = replace(TINY, shift_weight=3.0)
    costs = [shift_loss(Lattice(pattern), shift, network, config) for shift in SHIFTS]
    # Over all shifts, the one by nothing included, the moved pattern is as often like the fixed one as unlike it.
    assert sum(costs) / (len(costs) + 1) == pytest.approx(3.0 * 2 * variance, rel=1e-4)


def test_the_shift_term_sees_one_photo_and_with_batch_norm_the_whole_batch(network: LossNetwork) -> None:
    config = replace(TINY, shift_weight=1.0)
    with_batch_norm = replace(config, transformer=replace(TINY.transformer, norm="batch"))
    for each, count in ((config, 1), (with_batch_norm, 2)):
        lattice = Lattice(torch.zeros(2, 2))
        shift_loss(lattice, (1, 0), network, each)
        assert lattice.batches == [2, count]


def test_shifts_without_a_weight_need_no_pass_and_no_random_numbers(network: LossNetwork) -> None:
    lattice = Lattice(torch.zeros(2, 2))
    assert grid_shift(TINY, 0) is None
    PerceptualObjective(TINY, lattice, network, stripes())(photos(), None, grid_shift(TINY, 0))
    assert lattice.batches == [2]


def test_the_shift_term_changes_only_the_output_for_the_moved_photo(network: LossNetwork) -> None:
    each = objective(replace(TINY, shift_weight=1.0), network)
    weight = each.transformer.get_parameter("head.weight")
    shift = torch.tensor([2, 1])
    each(photos(), None, shift)[4].backward()
    found = weight.grad
    assert found is not None
    each.transformer.zero_grad()
    with torch.no_grad():
        fixed = moved(each.transformer(photos()), shift)[:1]
    difference = each.transformer(moved(photos(), shift)[:1]) - fixed
    difference[..., 8:-8, 8:-8].square().mean().backward()
    torch.testing.assert_close(found, weight.grad)


@pytest.mark.parametrize("period", [2, 4])
def test_the_grid_term_is_the_variance_of_a_lattice(network: LossNetwork, period: int) -> None:
    pattern = 0.1 * torch.randn(period, period, generator=torch.Generator().manual_seed(period))
    each = PerceptualObjective(replace(TINY, grid_weight=3.0), Lattice(pattern), network, stripes())
    with torch.no_grad():
        found = float(each(torch.full((2, 3, 32, 32), 0.5))[TERMS.index("grid")])
    assert found == pytest.approx(3.0 * float(pattern.var(correction=0)), rel=1e-4)


def test_images_move_up_and_to_the_left() -> None:
    image = torch.arange(12.0).view(1, 1, 3, 4)
    expected = torch.tensor([[6.0, 7, 7, 7], [10, 11, 11, 11], [10, 11, 11, 11]])
    assert torch.equal(moved(image, torch.tensor([1, 2]))[0, 0], expected)
    assert torch.equal(moved(image, torch.tensor([0, 0])), image)


def test_one_compiled_program_serves_all_shifts() -> None:
    programs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        programs.append(graph)
        return graph.forward

    compiled = torch.compile(moved, backend=backend, fullgraph=True)
    for shift in SHIFTS:
        assert torch.equal(compiled(photos(), torch.tensor(shift)), moved(photos(), torch.tensor(shift)))
    assert len(programs) == 1


def test_shifts_depend_only_on_the_seed_and_the_step() -> None:
    def shifts(seed: int) -> list[tuple[int, ...]]:
        config = replace(TINY, shift_weight=1.0, seed=seed)
        found = [grid_shift(config, step) for step in range(200)]
        return [tuple(each.tolist()) for each in found if each is not None]

    first = shifts(0)
    torch.manual_seed(99)
    assert shifts(0) == first
    assert shifts(1) != first
    assert set(first) == set(SHIFTS)


def test_noise_depends_only_on_the_seed_and_the_step() -> None:
    config = replace(TINY, stability_weight=1.0)

    def noise(config: TrainConfig, step: int) -> bytes:
        tensor = sparse_noise(config, step)
        assert tensor is not None
        return tensor.numpy().tobytes()

    first = noise(config, 5)
    torch.manual_seed(99)
    assert noise(config, 5) == first
    assert noise(config, 6) != first
    assert noise(replace(config, seed=1), 5) != first
    assert sparse_noise(TINY, 5) is None


def test_noise_has_the_configured_share_deviation_and_limit() -> None:
    config = replace(TINY, stability_weight=1.0, size_px=128, stability_fraction=0.2, stability_sigma=0.35)
    noise = sparse_noise(config, 0)
    assert noise is not None
    assert noise.shape == (2, 3, 128, 128)
    normalised = noise / torch.tensor(STD).view(1, 3, 1, 1)
    chosen = normalised[normalised != 0]
    assert chosen.numel() / noise.numel() == pytest.approx(0.2, abs=0.01)
    assert float(chosen.std()) == pytest.approx(0.35, abs=0.01)
    assert float(chosen.abs().max()) <= 1 + 1e-6


def test_the_style_is_the_whole_picture_unless_crops_are_configured(network: LossNetwork) -> None:
    features = network(stripes())
    for layer, gram in style_grams(TINY, network, stripes()).items():
        torch.testing.assert_close(gram, gram_matrix(features[layer]))


def test_the_style_may_be_the_mean_over_random_crops(network: LossNetwork) -> None:
    half = stripes()
    half[..., 24:] = 0
    whole = style_grams(TINY, network, half)["relu1_2"]
    one, other = (style_grams(replace(TINY, style_crops=1, seed=seed), network, half)["relu1_2"] for seed in (1, 2))
    many = style_grams(replace(TINY, style_crops=60), network, half)["relu1_2"]
    assert not torch.equal(one, other)
    assert torch.equal(many, style_grams(replace(TINY, style_crops=60), network, half)["relu1_2"])
    assert float((many - whole).norm() / whole.norm()) < 0.2


def test_crops_of_a_style_smaller_than_they_are_the_whole_of_its_shorter_side(network: LossNetwork) -> None:
    small = stripes()[..., :20, :20]
    crops = style_grams(replace(TINY, style_crops=3), network, small)
    for layer, gram in style_grams(TINY, network, small).items():
        torch.testing.assert_close(crops[layer], gram)


def test_a_loss_network_without_a_needed_layer_is_refused() -> None:
    with pytest.raises(ConfigError, match="relu2_1"):
        objective(TINY, LossNetwork(["relu1_2"]))


@pytest.mark.parametrize("size", [(150, 170), (97, 203), (64, 64)])
def test_gram_matrices_by_tiles_match_those_of_the_whole_picture(size: tuple[int, int]) -> None:
    deep = load_loss_network(["relu1_2", "pool2", "relu3_3"])
    picture = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(3))
    whole = deep(picture)
    tiles = list(feature_tiles(deep, picture, tile_pixels=80**2))
    assert len(tiles) > 1 or size == (64, 64)
    for layer in whole:
        assert sum(tile[layer].shape[2] * tile[layer].shape[3] for tile in tiles) == whole[layer][0, 0].numel()
        grams = [gram_matrix(tile[layer]) * tile[layer][0, 0].numel() for tile in tiles if tile[layer].numel()]
        total = torch.stack(grams).sum(0) / whole[layer][0, 0].numel()
        torch.testing.assert_close(total, gram_matrix(whole[layer]), rtol=1e-4, atol=1e-3)


def test_a_large_style_picture_passes_the_loss_network_in_tiles(
    network: LossNetwork,
) -> None:
    seen: list[int] = []
    network.register_forward_pre_hook(lambda _, given: seen.append(given[0].shape[2] * given[0].shape[3]))
    style_grams(TINY, network, torch.rand(1, 3, 700, 1700))
    assert len(seen) > 1
    assert max(seen) <= STYLE_TILE_PIXELS


def test_other_work_can_run_between_the_tiles_and_crops_of_a_style(network: LossNetwork) -> None:
    pieces: list[int] = []

    def piece(call: Callable[[], _T], /) -> _T:
        pieces.append(len(passes))
        with ThreadPoolExecutor(1) as engine:  # another thread, as in a worker
            return engine.submit(call).result()

    passes: list[Tensor] = []
    network.register_forward_pre_hook(lambda _, given: passes.append(given[0]))
    picture = torch.rand(1, 3, 700, 1700)
    for config, most in ((TINY, 700 * 1700), (replace(TINY, style_crops=5), TINY.size_px**2)):
        pieces.clear()
        passes.clear()
        grams = style_grams(config, network, picture, on_piece=piece)
        assert pieces == list(range(len(passes))), "one pass in each piece"
        assert len(pieces) == 5 if config.style_crops else len(pieces) > 1
        assert all(each.shape[2] * each.shape[3] <= most for each in passes)
        for layer, gram in style_grams(config, network, picture).items():
            torch.testing.assert_close(grams[layer], gram)
            assert not grams[layer].requires_grad


def test_a_style_may_be_given_by_its_gram_matrices(network: LossNetwork) -> None:
    transformer = TransformerNet(TINY.transformer)
    usual = PerceptualObjective(TINY, transformer, network, stripes())
    given = PerceptualObjective(TINY, transformer, network, style_grams(TINY, network, stripes()))
    assert torch.equal(given(photos()), usual(photos()))
