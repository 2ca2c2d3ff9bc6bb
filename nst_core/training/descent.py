"""A reference for trained networks: plain L-BFGS on the pixels of one photo, for the same loss."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from nst_core.losses.content import ContentLoss
from nst_core.losses.gram import GramLoss
from nst_core.losses.tv import TVLoss
from nst_core.nets.loss_network import LossNetwork
from nst_core.system.pieces import Runner, at_once
from nst_core.training.config import TrainConfig
from nst_core.training.objective import style_grams


class ImageObjective:
    """The loss that a training minimises, of given images instead of a network's output.

    Stability, shifts and grid marks are faults of networks, so they are omitted.
    """

    def __init__(self, config: TrainConfig, network: LossNetwork, style: Tensor, *, on_piece: Runner = at_once) -> None:
        """Compute the style targets once from the style picture, 1 x 3 x H x W RGB in 0 to 1.

        `on_piece` runs the parts of the work.
        """
        self.config = config
        self._network = network
        self._styles = {
            layer: GramLoss(gram, normalization=config.gram)
            for layer, gram in style_grams(config, network, style, on_piece=on_piece).items()
        }
        self._content = ContentLoss()
        self._tv = TVLoss(config.tv_kind)
        self._target = torch.zeros(())

    def use(self, photo: Tensor) -> None:
        """Use the content of a photo, 1 x 3 x H x W in 0 to 1."""
        with torch.no_grad():
            self._target = self._network(photo)[self.config.content_layer]

    def terms(self, image: Tensor) -> Tensor:
        """Return the weighted content, style and total-variation losses, 3, of an image like the photo."""
        config = self.config
        features = self._network(image.contiguous(memory_format=torch.channels_last))
        content = config.content_weight * self._content(features[config.content_layer], self._target)
        style = image.new_zeros(())
        for layer, loss in self._styles.items():
            style = style + config.style_weights[layer] * loss(features[layer])
        tv = config.tv_weight * self._tv(image) if config.tv_weight else image.new_zeros(())
        return torch.stack([content, style, tv])

    def __call__(self, image: Tensor) -> Tensor:
        """Return the loss, a scalar, of an image like the photo."""
        return self.terms(image).sum()


def descend(
    objective: Callable[[Tensor], Tensor], *, size_px: int, seed: int, device: torch.device | None = None
) -> Iterator[float]:
    """Yield the loss of a square image after 0, 1, 2, ... iterations of plain L-BFGS from uniform noise, forever.

    Step 1, no line search, 100 corrections, not clipped: Johnson, Alahi, Fei-Fei 2016, section 4.1, figure 5. The
    image is on the CPU if no device is given; its noise is the same on all.
    """
    noise = torch.rand(1, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed))
    image = noise.to(device).requires_grad_()
    optimizer: Any = torch.optim.LBFGS(
        [image], lr=1.0, max_iter=1, history_size=100, tolerance_grad=0.0, tolerance_change=0.0
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective(image)
        torch.autograd.backward(loss)
        return loss.detach()

    while True:
        # The loss before the step, so one evaluation serves both.
        yield float(optimizer.step(closure))
