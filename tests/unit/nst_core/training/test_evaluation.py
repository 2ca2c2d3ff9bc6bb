"""The measures of a trained network, each compared with a direct computation."""

import json
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from statistics import fmean, median
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from nst_core.looks.fog import find_fog
from nst_core.looks.halo import find_halos
from nst_core.looks.lattice import find_lattice
from nst_core.looks.similarity import ssim
from nst_core.nets.loss_network import LossNetwork
from nst_core.nets.tensors import to_tensor, to_uint8
from nst_core.nets.transformer import TransformerNet
from nst_core.training.blemishes import find_blemishes
from nst_core.training.config import TrainConfig
from nst_core.training.descent import ImageObjective, descend
from nst_core.training.evaluation import FEW_STEPS, ITERATIONS, OPTIMISED, Evaluation, evaluate, measured_part
from tests.photos import pictures
from tests.unit.nst_core.training.kit import TINY, soft_picture, stripes

pytestmark = pytest.mark.usefixtures("one_thread")

Pixels = npt.NDArray[np.uint8]
T = TypeVar("T")
#: The smallest allowed size of photos, because each is optimised too.
CONFIG = replace(TINY, size_px=16, tv_weight=3.0, steps=FEW_STEPS)
PHOTOS = [
    *(np.array(image.resize((100, 80))) for _, image in pictures()),
    *(np.array(soft_picture(seed, 70, 90)) for seed in range(2)),
]


class Identity(TransformerNet):
    """A network that changes nothing."""

    def forward(self, x: Tensor, styles: Tensor | None = None) -> Tensor:
        return x


class Framing(TransformerNet):
    """A network that paints a black frame."""

    def forward(self, x: Tensor, styles: Tensor | None = None) -> Tensor:
        return nn.functional.pad(x[..., 4:-4, 4:-4], (4, 4, 4, 4))


def random_network(config: TrainConfig = CONFIG) -> TransformerNet:
    torch.manual_seed(0)
    return TransformerNet(config.transformer).eval()


def measured(
    transformer: TransformerNet,
    network: LossNetwork,
    photos: Iterable[Pixels],
    *,
    config: TrainConfig = CONFIG,
    **options: Any,
) -> Evaluation:
    return evaluate(transformer, photos=photos, style=stripes(), network=network, config=config, **options)


def made(transformer: TransformerNet, photo: Pixels) -> Pixels:
    with torch.no_grad():
        result: Pixels = to_uint8(transformer(to_tensor(photo)))[0].numpy()
        return result


def test_after_few_steps_one_photo_is_compared_with_its_optimisation(network: LossNetwork) -> None:
    transformer = random_network()
    pieces = []

    def count(piece: Callable[[], T], /) -> T:
        pieces.append(piece)
        return piece()

    few = measured(transformer, network, PHOTOS, config=replace(CONFIG, steps=FEW_STEPS - 1), on_piece=count)
    fewer, pieces = len(pieces), []
    many = measured(transformer, network, PHOTOS, on_piece=count)
    assert len(pieces) > fewer + 2 * ITERATIONS
    assert few.loss_over_lbfgs50 == measured(transformer, network, PHOTOS[:1]).loss_over_lbfgs50
    assert replace(few, loss_over_lbfgs50=0, worth_iterations=0) == replace(
        many, loss_over_lbfgs50=0, worth_iterations=0
    )


def test_the_numbers_match_direct_computations(network: LossNetwork) -> None:
    transformer = random_network()
    found = measured(transformer, network, PHOTOS)
    objective = ImageObjective(CONFIG, network, stripes())
    terms, curves = [], []
    for number, photo in enumerate(PHOTOS):
        square = np.array(ImageOps.fit(Image.fromarray(photo), (16, 16), Image.Resampling.LANCZOS))
        objective.use(to_tensor(square))
        with torch.no_grad():
            terms.append(objective.terms(to_tensor(made(transformer, square))).tolist())
        if number < OPTIMISED:
            curves.append(list(islice(descend(objective, size_px=16, seed=number), ITERATIONS + 1)))
    assert len(PHOTOS) > len(curves) == OPTIMISED
    totals = [sum(each) for each in terms]
    assert found.photos == len(PHOTOS)
    assert (found.content, found.style, found.tv) == pytest.approx([fmean(each) for each in zip(*terms, strict=True)])
    assert found.total == pytest.approx(fmean(totals))
    ratios = [total / min(curve) for total, curve in zip(totals, curves, strict=False)]
    assert found.loss_over_lbfgs50 == pytest.approx(median(ratios), rel=1e-4)
    worths = [
        next((number for number, value in enumerate(curve) if value < total), ITERATIONS)
        for total, curve in zip(totals, curves, strict=False)
    ]
    assert found.worth_iterations == median(worths)
    pairs = [(photo, made(transformer, photo)) for photo in PHOTOS]  # small enough to be evaluated without reduction
    assert found.ssim == pytest.approx(fmean(ssim(to_tensor(photo), to_tensor(picture)) for photo, picture in pairs))
    blemishes = find_blemishes(pairs)
    assert (found.blotches, found.frame, found.grid) == (blemishes.blotches, blemishes.frame, blemishes.grid)
    assert found.remarks == tuple(blemishes.remarks)


def test_photos_are_measured_one_after_the_other(network: LossNetwork) -> None:
    """A client may hold out a thousand of them."""
    given: list[weakref.ref[Pixels]] = []

    def photos() -> Iterator[Pixels]:
        for number in range(4):
            photo = PHOTOS[number].copy()
            given.append(weakref.ref(photo))
            yield photo
            del photo
            assert sum(each() is not None for each in given) <= 1

    found = measured(random_network(), network, photos(), config=replace(CONFIG, steps=FEW_STEPS - 1))
    assert (found.photos, len(given)) == (4, 4)


def test_flat_areas_and_edges_are_looked_at(network: LossNetwork) -> None:
    photo = np.full((128, 320, 3), 90, np.uint8)
    photo[:, 240:] = 200
    found = measured(Framing(CONFIG.transformer), network, [photo])
    framed = made(Framing(CONFIG.transformer), photo)
    lattice, halos = find_lattice(photo, framed), find_halos(photo, framed)
    assert lattice is not None
    assert halos is not None
    assert (found.lattice, found.halo) == (lattice.contrast, abs(halos.stronger.overshoot))
    assert found.fog == find_fog(photo, framed)
    busy = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    assert measured(Identity(CONFIG.transformer), network, [busy]).lattice is None


def test_a_network_that_changes_nothing_keeps_the_structure_and_the_content(network: LossNetwork) -> None:
    found = measured(Identity(CONFIG.transformer), network, PHOTOS[:1])
    assert found.ssim == pytest.approx(1)
    assert found.content == 0
    assert found.total == pytest.approx(found.style + found.tv)
    assert (found.blotches, found.frame, found.grid, found.remarks) == (0, 0, 0, ())


def test_a_network_with_a_fault_gets_a_remark(network: LossNetwork) -> None:
    found = measured(Framing(CONFIG.transformer), network, PHOTOS[:1])
    assert found.ssim < 1
    assert [remark for remark in found.remarks if "frame" in remark]


@pytest.fixture
def watched(network: LossNetwork) -> Iterator[Callable[[Callable[[], bool]], TransformerNet]]:
    """Makes a network. It and the loss network fail if they run while a condition does not hold."""
    handles: list[RemovableHandle] = []

    def make(allowed: Callable[[], bool]) -> TransformerNet:
        def check(module: nn.Module, args: Any) -> None:
            assert allowed()

        transformer = random_network()
        handles.extend(module.register_forward_pre_hook(check) for module in (transformer, network))
        return transformer

    yield make
    for handle in handles:
        handle.remove()


def test_networks_run_only_in_pieces_and_the_numbers_do_not_depend_on_the_runner(
    network: LossNetwork, watched: Callable[[Callable[[], bool]], TransformerNet]
) -> None:
    expected = measured(random_network(), network, PHOTOS[:1])
    at_work: list[Callable[[], object]] = []
    count = 0

    def on_piece(piece: Callable[[], T], /) -> T:
        nonlocal count
        assert not at_work
        at_work.append(piece)
        result = piece()
        at_work.clear()
        count += 1
        return result

    assert measured(watched(lambda: bool(at_work)), network, PHOTOS[:1], on_piece=on_piece) == expected
    assert count > ITERATIONS + 3  # each iteration of the optimisation is a separate piece


def test_each_crop_of_the_painting_is_a_piece(network: LossNetwork) -> None:
    pieces: list[Any] = []

    def count(piece: Callable[[], T], /) -> T:
        pieces.append(piece)
        return piece()

    transformer = random_network()
    measured(transformer, network, PHOTOS[:1], config=replace(CONFIG, style_crops=1), on_piece=count)
    before = len(pieces)
    measured(transformer, network, PHOTOS[:1], config=replace(CONFIG, style_crops=30), on_piece=count)
    assert len(pieces) - before == before + 29


def test_a_piece_that_is_stopped_ends_the_evaluation(network: LossNetwork) -> None:
    count = 0

    def on_piece(piece: Callable[[], T], /) -> T:
        nonlocal count
        if count == 10:
            raise InterruptedError
        count += 1
        return piece()

    with pytest.raises(InterruptedError):
        measured(random_network(), network, PHOTOS, on_piece=on_piece)
    assert count == 10


@pytest.mark.parametrize(("width", "height"), [(16, 16), (300, 16), (16, 63), (600, 20)])
def test_tiny_and_narrow_photos_can_be_measured(network: LossNetwork, width: int, height: int) -> None:
    photo = np.array(soft_picture(0, width, height))
    found = measured(random_network(), network, [photo]).to_dict()
    assert np.isfinite([value for value in found.values() if isinstance(value, float)]).all()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 48), (64, 48)),
        ((1024, 300), (512, 150)),
        ((640, 20), (512, 16)),
        ((16, 600), (16, 512)),
        ((4000, 20), (512, 16)),
    ],
)
def test_of_a_photo_that_is_too_long_the_middle_is_measured(size: tuple[int, int], expected: tuple[int, int]) -> None:
    photo = np.zeros((size[1], size[0], 3), np.uint8)
    middle = photo.shape[0] // 2, photo.shape[1] // 2
    photo[middle[0] - 8 : middle[0] + 8, middle[1] - 8 : middle[1] + 8] = 255
    part = measured_part(photo, size_px=32)
    assert (part.shape[1], part.shape[0]) == expected
    assert part[part.shape[0] // 2, part.shape[1] // 2].min() > 200
    assert part[0, 0].max() == part[-1, -1].max() == 0


def test_photos_of_large_trainings_are_measured_in_the_size_of_two_crops() -> None:
    assert measured_part(np.zeros((900, 1800, 3), np.uint8), size_px=400).shape == (400, 800, 3)


def test_a_loss_without_any_weight_can_be_measured(network: LossNetwork) -> None:
    nothing = replace(CONFIG, content_weight=0.0, tv_weight=0.0, style_weights={"relu1_2": 0.0})
    found = evaluate(random_network(), photos=PHOTOS[:1], style=stripes(), network=network, config=nothing)
    assert (found.total, found.loss_over_lbfgs50) == (0, 0)


def test_a_network_is_not_changed(network: LossNetwork) -> None:
    transformer = random_network()
    before = {key: value.clone() for key, value in transformer.state_dict().items()}
    measured(transformer, network, PHOTOS[:1])
    assert all(torch.equal(value, before[key]) for key, value in transformer.state_dict().items())
    assert not transformer.training
    assert not any(value.is_inference() for value in transformer.state_dict().values())


EVALUATION = Evaluation(
    photos=16,
    content=123456.7,
    style=0.000123456,
    tv=0.0,
    total=123456.70012,
    ssim=0.98765432,
    loss_over_lbfgs50=1.0,
    worth_iterations=12.5,
    blotches=0.0312345,
    frame=0.0,
    grid=0.0,
    remarks=("3.1% of the tiles are blotches.",),
)


def test_an_evaluation_is_json_with_four_digits() -> None:
    values = json.loads(json.dumps(EVALUATION.to_dict(), allow_nan=False))
    assert values["photos"] == 16
    assert (values["content"], values["style"], values["ssim"]) == (123500, 0.0001235, 0.9877)
    assert (values["worth_iterations"], values["blotches"]) == (12.5, 0.03123)
    assert values["remarks"] == ["3.1% of the tiles are blotches."]
    assert values.keys() == vars(EVALUATION).keys()
