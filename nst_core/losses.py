"""Content, style and total-variation losses, each a tiny module that names its equation.

F_l: features of layer l, N x C x H x W. Sources: Gatys, Ecker, Bethge, "Image Style Transfer Using Convolutional
Neural Networks" (2016); Johnson, Alahi, Fei-Fei (2016). Loss weights are only portable together with the
normalisation of the Gram matrix and of the loss network; here they are Johnson's: Gram / (C H W), means of squares.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def gram_matrix(features: Tensor) -> Tensor:
    """Return the Gram matrix F F^T / (C H W) (Johnson 2016, eq. 3), float32 N x C x C, of N x C x H x W features."""
    n, c, h, w = features.shape
    with torch.autocast(features.device.type, enabled=False):  # sums over H W need more than bfloat16
        flat = features.float().reshape(n, c, h * w)
        return flat @ flat.transpose(1, 2) / (c * h * w)


class ContentLoss(nn.Module):
    """Feature reconstruction loss, mean (F - F_content)^2 (Johnson 2016, eq. 2)."""

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(features.float(), target.float())


class StyleLoss(nn.Module):
    """Style reconstruction loss, mean over C x C of (G - G_style)^2 (Johnson 2016, eq. 4).

    A departure: the mean instead of the squared Frobenius norm, as in Johnson's own program.
    """

    target: Tensor

    def __init__(self, target: Tensor) -> None:
        """Hold the Gram matrix of the style image, 1 x C x C."""
        super().__init__()
        self.register_buffer("target", target)

    def forward(self, features: Tensor) -> Tensor:
        gram = gram_matrix(features)
        return F.mse_loss(gram, self.target.expand_as(gram))


class TVLoss(nn.Module):
    """Total variation, mean (x_{i+1,j} - x_{i,j})^2 + mean (x_{i,j+1} - x_{i,j})^2 (Johnson 2016, section 3.2)."""

    def forward(self, image: Tensor) -> Tensor:
        image = image.float()
        dy = image[:, :, 1:, :] - image[:, :, :-1, :]
        dx = image[:, :, :, 1:] - image[:, :, :, :-1]
        return dy.square().mean() + dx.square().mean()
