"""Marks that are fixed to the grid of pixels."""

from torch import Tensor, nn
from torch.nn import functional as F

from nst_core.losses.precision import widen

#: A transformer network halves its maps twice and doubles them twice, so that what it adds may repeat every 4 pixels.
PERIOD_PX = 4


class GridLoss(nn.Module):
    """The variance of the pattern of 4 x 4 pixels that all of a picture has in common.

    Strokes begin at any pixel, so that their mean over a whole picture is the same at each place of the pattern; a
    weave that comes from the upsampling is not. Ours: no paper that we know of has this term.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Return the variance over the 4 x 4 places, as a mean over images and channels, N x C x H x W.

        It is 0 if a side has less than 7 pixels.
        """
        y = widen(images)
        n, c, height, width = y.shape
        rows, columns = ((side - PERIOD_PX + 1) // PERIOD_PX for side in (height, width))
        if rows < 1 or columns < 1:
            return 0 * y.sum()
        # Without the mean around each pixel, slopes would look like a pattern.
        rest = y[..., 2:-1, 2:-1] - F.avg_pool2d(y, PERIOD_PX, stride=1)
        whole = rest[..., : rows * PERIOD_PX, : columns * PERIOD_PX]
        pattern = whole.reshape(n, c, rows, PERIOD_PX, columns, PERIOD_PX).mean((2, 4))
        return pattern.var((2, 3), correction=0).mean()
