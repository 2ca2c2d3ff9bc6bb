"""Laplacian loss: the edges of the image against those of the photo."""

from torch import Tensor, nn
from torch.nn import functional as F

from nst_core.errors import ConfigError
from nst_core.losses.precision import widen


class LaplacianLoss(nn.Module):
    """Laplacian loss, mean (D(pool x) - D(pool c))^2.

    Li, Xu, Nie, Liu 2017, "Laplacian-Steered Neural Style Transfer". "pool" is the average over p x p pixels;
    incomplete squares at the border are left out. D is the Laplacian [0 -1 0; -1 4 -1; 0 -1 0], summed over RGB, at the
    positions that have all four neighbours. A departure, which the paper's own program makes too: the mean over
    positions instead of the sum. That program's weights, 100 at p = 4 and 1600 at p = 16 (p = 2^L for its layer L), are
    for pixels of 0 to 255. For pixels of 0 to 1, multiply them by 255^2.
    """

    target: Tensor

    def __init__(self, content: Tensor, *, pool_px: int) -> None:
        """Hold the Laplacian of the pooled photo, 1 x 3 x H x W; raise ConfigError if pool_px is not positive."""
        super().__init__()
        if pool_px < 1:
            raise ConfigError(f"A pooling has at least 1 pixel, not {pool_px}.")
        self.pool_px = pool_px
        self.register_buffer("target", self._edges(content.detach()))

    def forward(self, image: Tensor) -> Tensor:
        """Return the loss of images, N x 3 x H x W, of the photo's size; 0 if that is less than 3 poolings."""
        steps = self._edges(image) - self.target
        return steps.square().sum() / max(1, steps.numel())  # the mean of no positions at all would be NaN

    def _edges(self, image: Tensor) -> Tensor:
        grey = widen(image).sum(dim=1, keepdim=True)  # D is linear, so the sum over RGB may come first
        if min(grey.shape[-2:]) < 3 * self.pool_px:  # no pooled pixel has four neighbours
            return grey[..., :0, :0]
        x = F.avg_pool2d(grey, self.pool_px)
        centre = x[..., 1:-1, 1:-1]
        around = x[..., :-2, 1:-1] + x[..., 2:, 1:-1] + x[..., 1:-1, :-2] + x[..., 1:-1, 2:]
        return 4 * centre - around
