"""Content loss: the image's features against those of the photo."""

from torch import Tensor, nn
from torch.nn import functional as F

from nst_core.losses.precision import widen


class ContentLoss(nn.Module):
    """Feature reconstruction loss, mean (F - F_content)^2 (Johnson, Alahi, Fei-Fei 2016, eq. 2).

    A departure from Gatys, Ecker, Bethge 2016, eq. 1, which is half of the sum: weights do not depend on sizes here.
    """

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the loss of features against a target; both are N x C x H x W, and the target is broadcast."""
        return F.mse_loss(widen(features), widen(target).expand_as(features))
