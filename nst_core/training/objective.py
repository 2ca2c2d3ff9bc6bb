"""What a training minimises: content, style and total variation of a transformer's output, and three faults."""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from nst_core.errors import ConfigError
from nst_core.losses.content import ContentLoss
from nst_core.losses.gram import GramLoss, gram_matrix
from nst_core.losses.grid import GridLoss
from nst_core.losses.tv import TVLoss
from nst_core.nets import grain as grains
from nst_core.nets.feature_tiles import made_of_tiles
from nst_core.nets.loss_network import LossNetwork
from nst_core.nets.loss_weights import STD
from nst_core.system.pieces import Runner, at_once
from nst_core.training.config import TrainConfig
from nst_core.training.step_losses import TERMS

#: The Gram matrices of a style picture by style layer, 1 x C x C each.
Grams = dict[str, Tensor]
#: The largest shift of photos for the shift term, in pixels: it covers all phases of the network's two halvings.
MAX_SHIFT_PX = 3
#: Pixels at the border of a picture that the padding affects. It must be broader than a shift.
_BORDER_PX = 16
# Make the generators that share a seed independent.
_CROPS, _NOISE, _SHIFT, _STYLES, _GRAIN = 1, 2, 3, 4, 5


class PerceptualObjective(nn.Module):
    """The weighted content, style, total-variation, stability, shift and grid losses of a transformer's output.

    L = w_c mean (F(y) - F(x))^2 + sum_l w_l GramLoss_l(y) + w_tv TV(y) + w_st mean (T(x + n) - y)^2 + w_sh mean (T(S x)
    - S y)^2 + w_gr GridLoss(y) with y = T(x) (Johnson et al. 2016, eq. 2 to 5). The last three are not in the paper.

    Stability: a network that answers sparse noise n with small changes flickers less from frame to frame. Noise and
    the fixed y, which gets no gradient from it, follow ceshine/fast-neural-style; there pixels are normalised, so that
    a weight there is one of about 20 times here.

    Shift: S moves a picture by 0 to 3 px each way. Strokes move with what they paint; a lattice that comes from the
    upsampling stays at its pixels, and one of deviation s costs about 2 w_sh s^2. The mean is over one photo of the
    batch, without its border; pixels are in 0 to 1, so that the weight is in the unit of the stability's and of tv's.

    Grid: the variance of what repeats every 4 pixels over the whole picture, the weave alone; see `losses.grid`.

    With several styles, each photo has one, and its Gram matrices are compared with those of that style. If the last
    style is the identity, the content term of its photos is w_id mean (y - x)^2, and they have no other term.
    """

    def __init__(
        self, config: TrainConfig, transformer: nn.Module, network: LossNetwork, *styles: Tensor | Grams
    ) -> None:
        """Compute the style targets once from the style picture or pictures, 1 x 3 x H x W RGB in 0 to 1 each.

        A picture may be given by its `style_grams`, on the device of the network. Raises ConfigError if the loss
        network does not have all layers in the config.
        """
        super().__init__()
        missing = set(config.layers) - set(network.layers)
        if missing:
            raise ConfigError(f"The loss network was built without {', '.join(sorted(missing))}.")
        self.config = config
        self.transformer = transformer
        self.network = network
        # Names of layers may hold dots, which names of submodules may not.
        self.style_layers = tuple(config.style_weights)
        grams = [each if isinstance(each, dict) else style_grams(config, network, each) for each in styles]
        self.style_losses = nn.ModuleList(
            GramLoss(
                torch.cat([each[layer] for each in grams]), normalization=config.gram, weights=config.style_factors
            )
            for layer in self.style_layers
        )
        self.content_loss = ContentLoss()
        self.tv_loss = TVLoss(config.tv_kind)
        self.grid_loss = GridLoss()

    def forward(
        self,
        photos: Tensor,
        noise: Tensor | None = None,
        shift: Tensor | None = None,
        styles: Tensor | None = None,
        painted: int | None = None,
        grain: Tensor | None = None,
    ) -> Tensor:
        """Return the weighted terms, 6, in the order of TERMS, of a batch of photos, N x 3 x H x W in 0 to 1.

        `noise`, of the photos' shape, is for the stability term, `shift`, rows and columns to move by, for the shift
        term; each may be omitted if its term has no weight. `styles` are those of the photos, N whole numbers, if the
        network has several. The identity must be that of the last photos, all but `painted` ones. `grain`, of the
        photos' shape, is the noise that the network sees in them.
        """
        seen = photos if grain is None else (photos + grain).clamp(0, 1)
        output = self._made(seen, styles)
        if painted is None or painted == len(photos):
            return self._terms(photos, seen, output, noise, shift, styles)
        same = (output[painted:].float() - photos[painted:]).square().mean()
        share = painted / len(photos)
        terms = nn.functional.pad(self.config.identity_weight * (1 - share) * same[None], [0, len(TERMS) - 1])
        if not painted:
            return terms
        noise = None if noise is None else noise[:painted]
        styles = None if styles is None else styles[:painted]
        return terms + share * self._terms(photos[:painted], seen[:painted], output[:painted], noise, shift, styles)

    def _made(self, photos: Tensor, styles: Tensor | None) -> Tensor:
        made: Tensor = self.transformer(photos) if styles is None else self.transformer(photos, styles)
        return made

    def _terms(
        self,
        photos: Tensor,
        seen: Tensor,
        output: Tensor,
        noise: Tensor | None,
        shift: Tensor | None,
        styles: Tensor | None,
    ) -> Tensor:
        config = self.config
        features = self.network(output)
        content = style = tv = stability = shifted = grid = photos.new_zeros(())
        if config.content_weight:
            with torch.no_grad():
                target = self.network.target(photos, config.content_layer)
            content = config.content_weight * self.content_loss(features[config.content_layer], target)
        for layer, loss in zip(self.style_layers, self.style_losses, strict=True):
            style = style + config.style_weights[layer] * loss(features[layer], styles=styles)
        if config.tv_weight:
            tv = config.tv_weight * self.tv_loss(output)
        if noise is not None:
            # A second pass, not one of twice the batch: batch norm must not mix the statistics of the two.
            difference = self._made(seen + noise, styles).float() - output.detach().float()
            stability = config.stability_weight * difference.square().mean()
        if shift is not None:
            shifted = config.shift_weight * self._shift_loss(seen, output.detach().float(), shift, styles)
        if config.grid_weight:
            grid = config.grid_weight * self.grid_loss(output)
        return torch.stack([content, style, tv, stability, shifted, grid])

    def _shift_loss(self, photos: Tensor, output: Tensor, shift: Tensor, styles: Tensor | None) -> Tensor:
        # Photos are in random order, so the first one is a random one. Batch norm must see the same batch again.
        count = 1 if self.config.transformer.norm == "instance" else len(photos)
        own = None if styles is None else styles[:count]
        difference = self._made(moved(photos[:count], shift), own).float() - moved(output[:count], shift)
        border = min(_BORDER_PX, min(photos.shape[2:]) // 4)
        return difference[..., border:-border, border:-border].square().mean()


def moved(images: Tensor, shift: Tensor) -> Tensor:
    """Return N x C x H x W images moved up and to the left by `shift`, two whole numbers; the last pixels are repeated.

    The shift is a tensor so that a compiler makes one program for all.
    """
    height, width = images.shape[2:]
    rows = (torch.arange(height, device=images.device) + shift[0]).clamp(max=height - 1)
    columns = (torch.arange(width, device=images.device) + shift[1]).clamp(max=width - 1)
    return images.index_select(2, rows).index_select(3, columns)


def style_grams(config: TrainConfig, network: LossNetwork, style: Tensor, *, on_piece: Runner = at_once) -> Grams:
    """Return the Gram matrices of a style picture, 1 x 3 x H x W in 0 to 1, by style layer, 1 x C x C each.

    If the config has style crops, they are means over random crops, which depend only on the seed. `on_piece` runs the
    parts of the work: a tile of the picture or of a crop each.
    """
    pictures = [style]
    if config.style_crops:
        height, width = style.shape[2:]
        side = min(config.size_px, height, width)
        rng = np.random.default_rng((config.seed, _CROPS))
        tops = rng.integers(0, height - side + 1, config.style_crops)
        lefts = rng.integers(0, width - side + 1, config.style_crops)
        pictures = [style[..., y : y + side, x : x + side] for y, x in zip(tops, lefts, strict=True)]
    means: Grams = {}
    # Added one by one: those of thousands of crops would not fit into the memory.
    for picture in pictures:
        for layer, gram in _grams(config, network, picture, on_piece).items():
            means[layer] = means[layer] + gram / len(pictures) if layer in means else gram / len(pictures)
    return means


def _grams(config: TrainConfig, network: LossNetwork, picture: Tensor, on_piece: Runner) -> Grams:
    """Return the Gram matrices of a picture by layer, summed over tiles of it."""
    sums: Grams = {}
    positions = dict.fromkeys(config.style_weights, 0)
    for tile in made_of_tiles(partial(_sums, config), network, picture, on_piece=on_piece):
        for layer, (total, count) in tile.items():
            sums[layer] = sums[layer] + total if layer in sums else total
            positions[layer] += count
    return {layer: sums[layer] / count for layer, count in positions.items()}


def _sums(config: TrainConfig, features: dict[str, Tensor]) -> dict[str, tuple[Tensor, int]]:
    """Return the Gram matrix of each style layer with positions, times their number, and that number."""
    counts = {layer: features[layer].shape[2] * features[layer].shape[3] for layer in config.style_weights}
    return {layer: (count * gram_matrix(features[layer]), count) for layer, count in counts.items() if count}


def sparse_noise(config: TrainConfig, step: int) -> Tensor | None:
    """Return the noise of step 0, 1, 2, ..., N x 3 x H x W, for photos in 0 to 1; None if the term has no weight.

    Each value has noise with probability `stability_fraction`, normal and clipped to one deviation of the loss
    network's input. It depends on the seed and the step alone, so a resumed training repeats it.
    """
    if not config.stability_weight:
        return None
    generator = torch.Generator().manual_seed(_seed(config.seed, _NOISE, step))
    shape = (config.batch_size, 3, config.size_px, config.size_px)
    noise = torch.randn(shape, generator=generator).mul_(config.stability_sigma).clamp_(-1, 1)
    chosen = torch.rand(shape, generator=generator) < config.stability_fraction
    return noise * chosen * torch.tensor(STD).view(1, 3, 1, 1)


def input_grain(config: TrainConfig, step: int) -> Tensor | None:
    """Return the grain of step 0, 1, 2, ..., N x 3 x H x W, for photos in 0 to 1; None if the network has none.

    Each photo gets another part of it. It depends on the seed and the step alone, so a resumed training repeats it.
    """
    if not config.transformer.grain:
        return None
    random = np.random.default_rng((config.seed, _GRAIN, step))
    places = random.integers(0, grains.SIDE_PX, (config.batch_size, 2)).tolist()
    side, deviation = config.size_px, config.transformer.grain
    parts = [grains.noise(side, side, deviation, top=top, left=left) for top, left in places]
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).float() / 255


def grid_shift(config: TrainConfig, step: int) -> Tensor | None:
    """Return how far photos are moved in step 0, 1, 2, ...: two whole numbers, 0 to MAX_SHIFT_PX, not both 0.

    It depends on the seed and the step alone, so a resumed training repeats it; None if the term has no weight.
    """
    if not config.shift_weight:
        return None
    side = MAX_SHIFT_PX + 1
    drawn = int(np.random.default_rng((config.seed, _SHIFT, step)).integers(1, side * side))
    return torch.tensor(divmod(drawn, side))


def drawn_styles(config: TrainConfig, step: int) -> Tensor | None:
    """Return the style of each photo of step 0, 1, 2, ..., N whole numbers; None if the network has one style.

    They depend on the seed and the step alone. Each of as many photos in a row as there are styles has another style.
    Photos of the identity come last in their batch, and there are none if it has no weight. If it learns alone, all
    photos are its own.
    """
    if config.transformer.styles == 1:
        return None
    if config.trained == "identity":
        return torch.full((config.batch_size,), config.paintings)
    count = config.paintings + bool(config.identity_weight)
    places = [divmod(place, count) for place in range(step * config.batch_size, (step + 1) * config.batch_size)]
    turns = {turn: np.random.default_rng((config.seed, _STYLES, turn)).permutation(count) for turn, _ in places}
    drawn = [int(turns[turn][index]) for turn, index in places]
    return torch.tensor(sorted(drawn, key=lambda style: style >= config.paintings))


def _seed(*key: int) -> int:
    # Mixed: generators of neighbouring seeds may begin alike.
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
