"""Measures of a stylized picture, in addition to the losses that made it.

Pictures: H x W x 3, uint8. Luma: that of BT.601, 0 to 255.
"""

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Map = npt.NDArray[np.float64]
#: Side of the tiles whose contrast is compared.
TILE_PX = 32


def luma(picture: Picture) -> Map:
    """Return the luma of a picture, H x W."""
    weighted: Map = picture.astype(np.float64) @ np.array((0.299, 0.587, 0.114))
    return weighted


def tone_distance(picture: Picture, style: Picture) -> float:
    """Return the Wasserstein-1 distance of two pictures' luma histograms, in grey levels."""
    quantiles = np.linspace(0, 1, 1001)
    return float(np.abs(np.quantile(luma(picture), quantiles) - np.quantile(luma(style), quantiles)).mean())


def unstable_tiles(picture: Picture, style: Picture) -> float:
    """Return the share of tiles whose contrast or brightness no tile of the style has (0 to 1).

    Gram matrices allow a dull area that a bright one compensates (Risser, Wilmot, Barnes 2017, section 3). Such
    areas are outside the range of the style's own tiles.
    """
    own, other = _tiles(luma(picture)), _tiles(luma(style))
    outside = np.zeros(len(own), dtype=bool)
    for statistic in (np.mean, np.std):
        values, range_ = statistic(own, axis=(1, 2)), statistic(other, axis=(1, 2))
        outside |= (values < range_.min()) | (values > range_.max())
    return float(outside.mean())


def line_correlation(picture: Picture, photo: Picture, *, pool_px: int = 1) -> float:
    """Return the correlation (-1 to 1) of both pictures' Laplacians: how well lines of about that width are kept."""
    first, second = (_laplacian(_pooled(luma(each), pool_px)).ravel() for each in (picture, photo))
    return float(np.corrcoef(first, second)[0, 1])


def _pooled(image: Map, px: int) -> Map:
    rows, columns = image.shape[0] // px, image.shape[1] // px
    means: Map = image[: rows * px, : columns * px].reshape(rows, px, columns, px).mean(axis=(1, 3))
    return means


def _tiles(image: Map) -> Map:
    rows, columns = image.shape[0] // TILE_PX, image.shape[1] // TILE_PX
    cut = image[: rows * TILE_PX, : columns * TILE_PX].reshape(rows, TILE_PX, columns, TILE_PX)
    return cut.transpose(0, 2, 1, 3).reshape(-1, TILE_PX, TILE_PX)


def _laplacian(image: Map) -> Map:
    inner = image[1:-1, 1:-1]
    return 4 * inner - image[:-2, 1:-1] - image[2:, 1:-1] - image[1:-1, :-2] - image[1:-1, 2:]
