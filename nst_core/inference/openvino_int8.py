"""The ranges of values in a network, for convolutions in 8-bit integers.

Each range becomes 256 levels. What lies outside is cut off, which does more harm than wide levels: ranges reach from
the least to the largest value in pictures with the statistics of photos. No photo is needed, and a style always gets
the same ranges. A picture that is nearly flat would widen them several times, since its few edges become large values
when they are normalised.
"""

from collections.abc import Mapping
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from nst_core.inference.openvino_compiled import CompiledGraph
from nst_core.inference.openvino_graph import EVEN, Floats, Graph, Range, whole
from nst_core.inference.stylizer import Pixels
from nst_core.nets.transformer_config import TransformerConfig

_SIDE_PX = 256
_PICTURES = 4
_LEAVES = 300
_NOISE = 4.0


@cache
def leaves() -> tuple[Pixels, ...]:
    """Return pictures of leaves of many sizes that cover each other, 1 x H x W x 3 each.

    Such "dead leaves" have the spectrum, the edges and the flat areas of photos: Lee, Mumford, Huang, "Occlusion Models
    for Natural Images" (2001).
    """
    return tuple(map(_leaves, range(_PICTURES)))


def _leaves(seed: int) -> Pixels:
    random = np.random.default_rng(seed)
    picture = Image.new("RGB", (_SIDE_PX, _SIDE_PX), _color(random))
    draw = ImageDraw.Draw(picture)
    for _ in range(_LEAVES):
        radius = min(_SIDE_PX / 2, 4 * (1 - random.random()) ** -0.7)
        x, y = random.uniform(0, _SIDE_PX, 2)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_color(random))
    noisy = np.asarray(picture) + random.normal(0, _NOISE, (1, _SIDE_PX, _SIDE_PX, 3))
    pixels: Pixels = np.clip(noisy, 0, 255).astype(np.uint8)
    return pixels


def _color(random: np.random.Generator) -> tuple[int, int, int]:
    """Return a colour that is not far from grey, as most are in photos."""
    red, green, blue = np.clip(random.uniform(0, 255) + random.normal(0, 30, 3), 0, 255).astype(int).tolist()
    return red, green, blue


class Calibration:
    """The ranges of a network, and its pictures of `leaves`."""

    def __init__(self, config: TransformerConfig, tensors: Mapping[str, Floats]) -> None:
        """Run the network on the pictures, in float32."""
        graph = Graph(config, tensors)
        outputs = whole(graph, odd=EVEN)
        names = list(graph.convolved)
        for name in names:
            outputs |= graph.limits(name)
        compiled = CompiledGraph(graph.model(outputs), "fp32")
        runs = [compiled({"photo": picture}) for picture in leaves()]
        #: The stylized pictures of `leaves`, 1 x H x W x 3 each.
        self.pictures = [run["picture"] for run in runs]
        #: By the name of a convolution, the range of its input; with 0, which padding may add.
        self.ranges: dict[str, Range] = {
            name: (
                min(0.0, *(float(run[f"{name}.least"]) for run in runs)),
                max(float(run[f"{name}.largest"]) for run in runs),
            )
            for name in names
        }
