"""The passes over a large picture: parts of a transformer network on strips, with the statistics of the whole picture.

A pass is defined once, in terms of layers: `openvino_graph.Graph` makes a graph of them, and `torch_layers.TorchLayers`
and `native_layers.NativeLayers` run them at once. Inputs come by name; see `strips` for what they are. The maps between
the passes have a quarter of the picture's height and width and are float16, or float32 for layers that are wide.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

#: A tensor, or a node of a graph.
Value = Any


class Layers(Protocol):
    """The layers of a network for strips. `rows` are the rows that are missing before and after a strip.

    A negative number says how many there are beyond those that are needed; see `strips.StripSize.tile`.
    They are missing at the edges of the picture only, where padding takes their place; elsewhere a strip comes with
    the rows around it that a convolution reads.
    """

    #: Whether all maps are float32; see `halves`.
    is_wide: bool

    def input(self, name: str, shape: Sequence[int], dtype: Any = ...) -> Value:
        """Return an input of the pass."""
        ...

    def photo(self) -> Value:
        """Return the strip of the photo, N x 3 x H x W, 0 to 255."""
        ...

    def map(self, name: str) -> Value:
        """Return a strip of a stored map as float32, N x C x H x W.

        It comes as it is stored, H x C x W, but the values of a row are in the order in which `stored` has put them.
        """
        ...

    def stored(self, x: Value) -> Value:
        """Return a map as it is stored."""
        ...

    def conv(self, x: Value, name: str, rows: Value | None = None) -> Value:
        """Return a convolution of the network, by its name."""
        ...

    def norm(self, x: Value, name: str, *, relu: bool = True, given: bool = False) -> Value:
        """Return the normalised map; with `given` statistics, which are the inputs `scale` and `shift` of the name."""
        ...

    def moments(self, x: Value) -> dict[str, Value]:
        """Return `mean` and `variance` of each channel of what a convolution has just returned."""
        ...

    def add(self, x: Value, y: Value) -> Value:
        """Return the sum of two maps."""
        ...

    def cut(self, x: Value, name: str) -> Value:
        """Return a part of a map: from the rows and columns in the first line of an input to those in the second."""
        ...

    def up_at_once(
        self, x: Value, name: str, rows: Value | None = None, *, odd: tuple[bool, bool] = (False, False)
    ) -> Value:
        """Return the convolution, by its name, of the doubled map; see `openvino_graph.Graph.up_at_once`."""
        ...

    def head(self, x: Value, rows: Value | None = None) -> Value:
        """Return the last convolution, for `picture`."""
        ...

    def picture(self, y: Value, size: Value) -> Value:
        """Return the picture of what `head` returned; see `openvino_graph.Graph.picture`."""
        ...

    def size_input(self, name: str) -> Value:
        """Return an input of height and width."""
        ...


def encoder(layers: Layers, depth: int) -> dict[str, Value]:
    """From the photo to the convolution of layer `depth`, 1 to 3: its statistics, and for the third one its values."""
    x = layers.photo()
    for number in range(1, depth + 1):
        x = layers.conv(x, f"down{number}.conv", layers.input(f"down{number}.rows", [2], np.int64))
        if number < depth:
            x = layers.norm(x, f"down{number}.norm", given=True)
    return layers.moments(x) | ({"map": layers.stored(x)} if depth == 3 else {})


def complete(layers: Layers, block: int) -> dict[str, Value]:
    """From what was stored to the result of the encoder (block 0), or of the residual block before `block`."""
    return {"completed": layers.stored(_completed(layers, block))}


def _completed(layers: Layers, block: int) -> Value:
    x = layers.map("x")
    if block < 2:  # what the encoder has stored
        x = layers.norm(x, "down3.norm", given=True)
    if block == 0:
        return x
    return layers.add(x, layers.norm(layers.map("y"), f"residuals.{block - 1}.norm2", relu=False, given=True))


def first_half(layers: Layers, block: int) -> dict[str, Value]:
    """As `complete`; then the first convolution of a residual block: its statistics and values.

    For the first block, the result of the encoder stays stored before its normalisation, so that it is rounded once.
    """
    x = _completed(layers, block)
    y = layers.conv(x, f"residuals.{block}.conv1", layers.input("rows", [2], np.int64))
    completed = {"completed": layers.stored(x)} if block else {}
    return layers.moments(y) | {"map": layers.stored(y)} | completed


def second_half(layers: Layers, block: int) -> dict[str, Value]:
    """From the first convolution of a residual block to the second one: its statistics and values."""
    y = layers.norm(layers.map("y"), f"residuals.{block}.norm1", given=True)
    y = layers.conv(y, f"residuals.{block}.conv2", layers.input("rows", [2], np.int64))
    return layers.moments(y) | {"map": layers.stored(y)}


class Up(NamedTuple):
    """How a strip of an upsampled map is made."""

    #: Whether the strip has the last row, and it is odd, so that the doubled map is cropped; the same of the column.
    odd: tuple[bool, bool]
    #: Whether only some of the rows are wanted.
    cut: bool


def decoder(layers: Layers, depth: int, ups: Sequence[Up], *, encoded: bool = False) -> dict[str, Value]:
    """From the residual blocks to the statistics of the upsampled map `depth`, 1 or 2, or with 3 to the picture.

    `ups`: how the first and the second upsampled map are made. With `encoded` there are no residual blocks, and the
    result of the encoder is stored before its normalisation.
    """
    assert depth == 3 or not ups[-1].cut  # statistics are those of a whole result
    x = layers.map("x")
    if encoded:
        x = layers.norm(x, "down3.norm", given=True)
    for number, up in enumerate(ups, 1):
        name = f"up{number}"
        rows = layers.input(f"{name}.rows", [2], np.int64)
        x = layers.up_at_once(x, f"{name}.conv", rows, odd=up.odd)
        x = layers.cut(x, f"{name}.cut") if up.cut else x
        if number < depth:
            x = layers.norm(x, f"{name}.norm", given=True)
    if depth < 3:
        return layers.moments(x)
    y = layers.head(x, layers.input("head.rows", [2], np.int64))
    return {"picture": layers.picture(y, layers.size_input("size"))}
