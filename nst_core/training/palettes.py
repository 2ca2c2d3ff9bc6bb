"""Makes the palette of a style, at the end of its training: the painting's colours for those that its network paints.

The colours of some painted photos are moved until they are spread as those of the painting are: along three axes at a
time, which turn, each colour goes part of the way to the colour of its rank (Pitié, Kokaram, Dahyot, "Automated Colour
Grading Using Colour Distribution Transfer", 2007). Then a smooth table is fitted to these moves, since colours that
differ little must stay so, also those that no pixel has.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nst_core.nets.families import one_style, with_palettes, without_palettes
from nst_core.nets.tensors import to_uint8
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.transformer_config import PALETTE_NODES, PALETTE_NUMBERS, PALETTE_STEP
from nst_core.training.pictures import stylized

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float64]
Indexes = npt.NDArray[np.int64]
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


def with_fitted_palettes(
    net: TransformerNet,
    paintings: Sequence[Tensor],
    photos: Sequence[Tensor],
    *,
    share: float = 1.0,
    on_piece: Callable[[Callable[[], Pixels]], Pixels] = lambda piece: piece(),
) -> TransformerNet:
    """Return a network with a palette for each of its paintings, 1 x 3 x H x W in 0 to 1; its identity has none.

    `photos`, N x 3 x H x W in 0 to 1, are painted for it; `share` is how far colours go to those of the painting, 0 to
    1. `on_piece` runs each pass of the network.
    """
    net = without_palettes(net)
    palettes = torch.zeros(net.config.styles, PALETTE_NUMBERS)
    for index, painting in enumerate(paintings):
        single = one_style(net, index)
        pieces = [on_piece(partial(_painted, single, photo)) for photo in _each(photos)]
        painted = _sample(np.concatenate([piece.reshape(-1, 3) for piece in pieces]))
        wanted = _sample(to_uint8(painting)[0].cpu().numpy().reshape(-1, 3))
        palettes[index] = torch.from_numpy(share * fitted(painted, wanted) / 255).flatten()
    return with_palettes(net, palettes.to(next(net.parameters()).device))


def fitted(painted: Pixels, wanted: Pixels) -> Values:
    """Return the moves in levels at the nodes of a palette, nodes x 3, which give colours, N x 3, those of another set.

    Equal colours give equal moves: the axes are the same each time.
    """
    colours = painted.astype(np.float64)
    nodes, shares = _corners(colours)
    moves = _moved(colours, wanted.astype(np.float64)) - colours
    count, per_node = PALETTE_NODES**3, PALETTE_NODES**3 / len(colours)
    system = _bends() * _BENDS + np.eye(count) * _MOVES
    sums = np.zeros((count, 3))
    for one, share in zip(nodes.T, shares.T, strict=True):
        for channel in range(3):
            sums[:, channel] += np.bincount(one, share * moves[:, channel], minlength=count) * per_node
        for other, its in zip(nodes.T, shares.T, strict=True):
            together = np.bincount(one * count + other, share * its, minlength=count * count)
            system += together.reshape(count, count) * per_node
    solution = np.asarray(np.linalg.solve(system, sums), np.float64)
    return solution


def _moved(colours: Values, wanted: Values) -> Values:
    """Return colours, N x 3, each of which has gone to where the other ones have as many on each side."""
    spread = min(1.0, _MOST_SPREAD * float(colours.std(0).mean()) / max(float(wanted.std(0).mean()), 1e-9))
    wanted = wanted.mean(0) + spread * (wanted - wanted.mean(0))
    random, ranks = np.random.default_rng(_SEED), np.linspace(0, 1, _RANKS)
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


def _painted(net: TransformerNet, photo: Tensor) -> Pixels:
    return stylized(net, photo)


def _each(photos: Iterable[Tensor]) -> Iterator[Tensor]:
    for batch in photos:
        yield from torch.split(batch, 1)


def _sample(colours: Pixels) -> Pixels:
    """Return at most about _COLOURS of some colours, at equal distances."""
    return colours[:: max(1, len(colours) // _COLOURS)]
