"""Where the colours of the result come from.

Gatys, Bethge, Hertzmann, Shechtman 2016, "Preserving Color in Neural Artistic Style Transfer".

Pictures are 1 x 3 x H x W, RGB. Nothing is clipped here.
"""

import torch
from torch import Tensor

from nst_core.nets.tensors import LUMA

#: Directions with less than this fraction of the largest variance count as flat.
FLAT = 1e-6


def luminance(image: Tensor) -> Tensor:
    """Return the luminance Y, N x 1 x H x W, of N x 3 x H x W pictures."""
    return (image * image.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)


def match_luminance(style: Tensor, content: Tensor) -> Tensor:
    """Return the style's luminance, 1 x 1 x h x w, with the mean and deviation of the content (section 3.2).

    A style of constant luminance gets the mean.
    """
    own, other = luminance(style), luminance(content)
    deviation = own.std(correction=0)
    gain = torch.where(deviation > 0, other.std(correction=0) / deviation.clamp_min(torch.finfo(own.dtype).tiny), 0)
    return (own - own.mean()) * gain + other.mean()


def with_luminance(image: Tensor, y: Tensor) -> Tensor:
    """Return the picture with the luminance `y`, N x 1 x H x W, and its own chrominance.

    Swapping Y in YIQ adds the same difference to R, G and B: each takes Y with factor 1.
    """
    return image + (y - luminance(image))


def match_colors(style: Tensor, content: Tensor) -> Tensor:
    """Return the style recoloured by a linear map, to the mean and covariance of the content's colours (section 3.1).

    x' = A (x - m_s) + m_c with A = S_c^1/2 S_s^-1/2, by eigendecomposition. The paper prefers this to a Cholesky
    decomposition, and it treats all channels alike. Directions in which the style does not vary, as in a grey one, stay
    flat.
    """
    own, own_mean, own_covariance = _colors(style)
    _, other_mean, other_covariance = _colors(content)
    matrix = _power(other_covariance, 0.5) @ _power(own_covariance, -0.5)
    recoloured = matrix @ (own - own_mean) + other_mean
    return recoloured.to(style.dtype).view_as(style)


def _colors(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixels, 3 x M, their mean, 3 x 1, and their covariance, 3 x 3, all float64."""
    pixels = image[0].reshape(3, -1).double()
    mean = pixels.mean(1, keepdim=True)
    centred = pixels - mean
    return pixels, mean, centred @ centred.T / pixels.shape[1]


def _power(covariance: Tensor, exponent: float) -> Tensor:
    """Return a power of a symmetric matrix, with 0 for the directions that have next to no variance."""
    values, vectors = torch.linalg.eigh(covariance)
    flat = values <= FLAT * values[-1]
    powers = torch.where(flat, 0, values.clamp_min(torch.finfo(values.dtype).tiny) ** exponent)
    power: Tensor = (vectors * powers) @ vectors.T
    return power
