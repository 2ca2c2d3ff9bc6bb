"""Makes the palette of a style, at the end of its training: the painting's colours for those that its network paints.

The colours of some painted photos are moved until they are spread as those of the painting are: along three axes at a
time, which turn, each colour goes part of the way to the colour of its rank (Pitié, Kokaram, Dahyot, "Automated Colour
Grading Using Colour Distribution Transfer", 2007). Then a smooth table is fitted to these moves, since colours that
differ little must stay so, also those that no pixel has.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nst_core.nets.families import one_style, style_rows, with_palettes, without_palettes
from nst_core.nets.tensors import to_uint8
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.transformer_config import PALETTE, PALETTE_NODES, PALETTE_NUMBERS, PALETTE_STEP
from nst_core.training.config import TrainConfig
from nst_core.training.photos import PhotoStream
from nst_core.training.pictures import stylized

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.int64]
#: Runs a pass of a network and returns its picture.
Run = Callable[[Callable[[], Pixels]], Pixels]
#: Photos that are painted for a palette.
PHOTOS = 24
#: The most colours of the painted photos, and of the painting, that are compared.
_COLOURS = 30_000
#: How often the axes turn, which part of the way colours go each time, and the ranks that are compared.
_TURNS, _PART, _RANKS = 30, 0.5, 65
#: Weights beside the mean squared error at a node that has its share of the colours: of bends of the table, and of
#: the moves themselves, which leave colours as they are where nothing is known of them.
_BENDS, _MOVES = 0.15, 1e-3
#: The most that a palette spreads colours. A network that paints almost one colour has not learned yet.
_MOST_SPREAD = 3.0
_SEED = 5


def finished(
    net: TransformerNet,
    config: TrainConfig,
    *,
    paintings: Sequence[Tensor],
    photos: PhotoStream,
    initial: TransformerNet | None = None,
    run: Run = lambda piece: piece(),
) -> TransformerNet:
    """Return a trained network with the palettes that its config asks for, made with photos of its training.

    If nothing but its identity learned, its paintings keep the palettes of `initial`, the network that it began with.
    `run` runs each pass of the network.
    """
    if config.trained == "identity":
        return net if initial is None else _with_palettes_of(initial, net)
    if not config.palette:
        return net
    batches = [photos.batch(step) for step in range(ceil(PHOTOS / config.batch_size))]
    return with_fitted_palettes(net, paintings, torch.cat(batches), share=config.palette, run=run)


def with_fitted_palettes(
    net: TransformerNet,
    paintings: Sequence[Tensor],
    photos: Tensor,
    *,
    share: float = 1.0,
    run: Run = lambda piece: piece(),
) -> TransformerNet:
    """Return a network with a palette for each of its paintings, 1 x 3 x H x W in 0 to 1; its identity has none.

    `photos`, N x 3 x H x W in 0 to 1, are painted for it; `share` is how far colours go to those of the painting, 0 to
    1. `run` runs each pass of the network.
    """
    net = without_palettes(net)
    palettes = torch.zeros(net.config.styles, PALETTE_NUMBERS)
    for index, painting in enumerate(paintings):
        single = one_style(net, index)
        pictures = [run(partial(stylized, single, photo[None])) for photo in photos]
        painted = _some(np.concatenate([picture.reshape(-1, 3) for picture in pictures]))
        wanted = _some(to_uint8(painting)[0].cpu().numpy().reshape(-1, 3))
        palettes[index] = torch.from_numpy(share * fitted(painted, wanted) / 255).flatten()
    return with_palettes(net, palettes.to(next(net.parameters()).device))


def _with_palettes_of(initial: TransformerNet, net: TransformerNet) -> TransformerNet:
    """Return a network whose paintings have the palettes of those of another one, if that has palettes."""
    if not initial.config.palette:
        return net
    palettes = torch.zeros(net.config.styles, PALETTE_NUMBERS)
    palettes[: net.config.paintings] = style_rows(initial, PALETTE)[: initial.config.paintings]
    return with_palettes(net, palettes.to(next(net.parameters()).device))


def fitted(painted: Pixels, wanted: Pixels) -> Values:
    """Return how far to move the colour at each node, in levels, nodes x 3, so that colours become like others.

    Colours that are painted, N x 3, are then spread as the wanted ones, M x 3. Equal input gives equal moves.
    """
    random = np.random.default_rng(_SEED)
    # Colours between the whole levels: of equal ones, each has its own rank.
    ours, theirs = (each + random.uniform(-0.5, 0.5, each.shape) for each in (painted, wanted))
    moves = _moved(ours, theirs, random) - ours
    nodes, shares = _corners(painted.astype(np.float64))
    count, per_node = PALETTE_NODES**3, PALETTE_NODES**3 / len(painted)
    system = _bends() * _BENDS + np.eye(count) * _MOVES
    sums = np.zeros((count, 3))
    for one, share in zip(nodes.T, shares.T, strict=True):
        for channel in range(3):
            sums[:, channel] += np.bincount(one, share * moves[:, channel], minlength=count) * per_node
        for other, its in zip(nodes.T, shares.T, strict=True):
            together = np.bincount(one * count + other, share * its, minlength=count * count)
            system += together.reshape(count, count) * per_node
    return np.asarray(np.linalg.solve(system, sums), np.float64)


def _moved(colours: Values, wanted: Values, random: np.random.Generator) -> Values:
    """Return colours, N x 3, moved so that they are spread as the wanted ones, or as far as they may be."""
    spread = min(1.0, _MOST_SPREAD * float(colours.std(0).mean()) / max(float(wanted.std(0).mean()), 1e-9))
    wanted = wanted.mean(0) + spread * (wanted - wanted.mean(0))
    ranks = np.linspace(0, 1, _RANKS)
    for _ in range(_TURNS):
        axes = np.linalg.qr(random.standard_normal((3, 3)))[0]
        ours, theirs = colours @ axes, wanted @ axes
        for axis in range(3):
            here, there = np.quantile(ours[:, axis], ranks), np.quantile(theirs[:, axis], ranks)
            ours[:, axis] += _PART * (np.interp(ours[:, axis], here, there) - ours[:, axis])
        colours = np.asarray(ours @ axes.T, np.float64)
    return colours


def _corners(colours: Values) -> tuple[Indexes, Values]:
    """Return the eight nodes around each colour and their shares in it, N x 8 each."""
    nodes, places = np.divmod(colours / PALETTE_STEP, 1)
    indexes, shares = [], []
    for corner in np.ndindex(2, 2, 2):
        red, green, blue = (nodes.astype(np.int64) + corner).T
        indexes.append((red * PALETTE_NODES + green) * PALETTE_NODES + blue)
        shares.append(np.where(corner, places, 1 - places).prod(1))
    return np.stack(indexes, 1), np.stack(shares, 1)


def _bends() -> Values:
    """Return the matrix of the sum of squared second differences of a table along its axes, nodes x nodes."""
    line = np.diff(np.eye(PALETTE_NODES), 2, axis=0)
    bends, same = line.T @ line, np.eye(PALETTE_NODES)
    along_blue = np.kron(np.kron(same, same), bends)
    total: Values = along_blue + np.kron(np.kron(same, bends), same) + np.kron(np.kron(bends, same), same)
    return total


def _some(colours: Pixels) -> Pixels:
    """Return _COLOURS of some colours, N x 3, or all if there are fewer."""
    if len(colours) <= _COLOURS:
        return colours
    return np.random.default_rng(_SEED).choice(colours, _COLOURS, replace=False)
