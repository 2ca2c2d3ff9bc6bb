"""Total variation: how much neighbouring pixels differ."""

from typing import Literal, get_args

from torch import Tensor, nn

from nst_core.errors import ConfigError
from nst_core.losses.precision import widen

Kind = Literal["l1", "squared"]


class TVLoss(nn.Module):
    """Total variation, mean d(x_{i+1,j} - x_{i,j}) + mean d(x_{i,j+1} - x_{i,j}).

    "l1": d(v) = |v|, the anisotropic variation of Rudin, Osher, Fatemi 1992, which keeps edges. "squared":
    d(v) = v^2 (Mahendran & Vedaldi 2015, eq. 3 with beta = 2; Johnson, Alahi, Fei-Fei 2016, section 3.2), which
    blurs them. A departure: means instead of sums, each over its own count, so that weights do not depend on the size.
    """

    def __init__(self, kind: Kind = "squared") -> None:
        """Choose d; raise ConfigError for another kind."""
        super().__init__()
        if kind not in get_args(Kind):
            raise ConfigError(f"The kind of total variation is one of {', '.join(get_args(Kind))}, not {kind!r}.")
        self.kind = kind

    def forward(self, image: Tensor) -> Tensor:
        """Return the total variation of images, N x C x H x W; an image one pixel wide has none along that side."""
        image = widen(image)
        return self._mean(image[:, :, 1:] - image[:, :, :-1]) + self._mean(image[..., 1:] - image[..., :-1])

    def _mean(self, steps: Tensor) -> Tensor:
        steps = steps.abs() if self.kind == "l1" else steps.square()
        return steps.sum() / max(1, steps.numel())  # the mean of no steps at all would be NaN
