"""How much of the photo is in a picture. A picture that has more of the painting has less of the photo."""

import torch
from torch import Tensor
from torch.nn import functional as F

from nst_core.nets.tensors import LUMA


def ssim(a: Tensor, b: Tensor) -> float:
    """Return the mean structural similarity of two images' luminance, N x 3 x H x W in 0 to 1, at least 11 px wide.

    Wang, Bovik, Sheikh, Simoncelli (2004), equation 13, with their Gaussian window of 11 px and deviation 1.5.
    """
    weights = torch.tensor(LUMA).view(1, 3, 1, 1)
    x, y = ((image.double() * weights).sum(1, keepdim=True) for image in (a, b))
    line = torch.exp(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / (2 * 1.5**2))
    line = line / line.sum()

    def blur(values: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(values, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))

    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    map_ = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(map_.mean())


def feature_distance(made: Tensor, given: Tensor) -> float:
    """Return |F - P| / |P| for the features of a picture and of its photo: 0 for equal ones."""
    return float((made - given).norm() / given.norm().clamp_min(torch.finfo(given.dtype).tiny))
