"""Markov random field loss: each patch of the features against the most similar patch of the style."""

import torch
from torch import Tensor, nn

from nst_core.errors import ConfigError
from nst_core.losses.patches import match_patches, positions
from nst_core.losses.precision import widen

#: Memory for similarities. With less, the pieces of the maps would be smaller and share more rows with each other.
MAX_BYTES = 64 * 1024 * 1024


class MRFLoss(nn.Module):
    """MRF loss, sum_i |P_i(F) - P_NN(i)(F_style)|^2 / (C H W), the mean over the batch.

    Li & Wand 2016, "Combining Markov Random Fields and Convolutional Neural Networks for Image Synthesis", eq. 2.
    P_i is the patch of patch_px x patch_px positions, with all channels, at every stride-th position of either map.
    NN(i) is the style's patch with the largest normalised cross-correlation (eq. 3). The choice is not differentiated.

    A departure: the sum is divided by the number of features, C H W. `ContentLoss` does the same with the paper's
    content term (eq. 4, also a sum), so the paper's ratio of the two weights stays valid. The paper's own program
    computes a gradient without a loss: s times the mean of F - F_style over the patches that cover a position. With
    3 x 3 patches at every position, and except at the border, that is the gradient of s C H W / 18 times this loss.
    """

    target: Tensor

    def __init__(self, target: Tensor, *, patch_px: int = 3, stride: int = 1, max_bytes: int = MAX_BYTES) -> None:
        """Hold the style's features, 1 x C x h x w; raise ConfigError if a number is not positive."""
        super().__init__()
        if min(patch_px, stride, max_bytes) < 1:
            raise ConfigError("The patch size, the stride and the memory of an MRF loss must be positive.")
        self.register_buffer("target", widen(target.detach()))
        self.patch_px = patch_px
        self.stride = stride
        self.max_bytes = max_bytes

    def forward(self, features: Tensor) -> Tensor:
        """Return the loss of N x C x H x W features; if a map is narrower than a patch, patches are as narrow.

        The similarities take at most max_bytes at a time, and the chosen patches three times the memory of the
        features. Raises ConfigError if max_bytes is too little to compare one row of patches with another.
        """
        features = widen(features)
        style = self.target[0].to(features.dtype)
        height = min(self.patch_px, features.shape[2], style.shape[1])
        width = min(self.patch_px, features.shape[3], style.shape[2])
        total = features.new_zeros(())
        for image in features:
            top, left = match_patches(image, style, patch=(height, width), stride=self.stride, max_bytes=self.max_bytes)
            mean, count, spread = self._votes(image, style, top, left, (height, width))
            total = total + (count * (image - mean).square()).sum() + spread
        return total / features.numel()

    @torch.no_grad()
    def _votes(
        self, image: Tensor, style: Tensor, top: Tensor, left: Tensor, patch: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return what the chosen patches want at each position of the image.

        If n patches cover a position and want the values t_k there, with the mean t, then

            sum_k (F - t_k)^2 = n (F - t)^2 + sum_k (t_k - t)^2.

        So the loss needs only the map of t, C x H x W, the map of n, H x W, and the last sum over all positions.
        Backpropagation keeps one map instead of all patches. The sums are updated for one offset within the patches at
        a time, with Welford's method, which loses no digits.
        """
        mean = torch.zeros_like(image)
        count = image.new_zeros(image.shape[1:])
        spread = image.new_zeros(())
        rows, columns = top.shape
        for dy in range(patch[0]):
            for dx in range(patch[1]):
                here = (..., positions(dy, rows, self.stride), positions(dx, columns, self.stride))
                wanted = style[:, top + dy, left + dx]
                count[here] += 1
                change = wanted - mean[here]
                mean[here] += change / count[here]
                spread += (change * (wanted - mean[here])).sum()
        return mean, count, spread
