"""A transformer network as a graph of OpenVINO, with the same weights and the same results.

Three layers are computed in another way, which is the same algebra with fewer operations:

- A 3 x 3 convolution of a picture of doubled size reads each small pixel up to four times. It is the same as one
  transposed convolution of the small picture, 4 x 4 with stride 2, whose weights are sums of the original ones: 16
  multiplications instead of 36 for four pixels. Reflection padding of the doubled picture becomes replication padding
  of the small one. Of a doubled picture that was cropped to an odd size, the last row or column is computed by itself.
- The last convolution, 9 x 9 with 3 channels, leaves most of a vector register empty. As a convolution of 10 x 10 with
  stride 2 it makes blocks of 2 x 2 pixels, which are 12 channels.
- The scaling of the picture from 0..255 to 0..1 is part of the first weights.

The fourth is not the same, and close: in int8 the 3 x 3 convolutions, most of the time, compute in 8-bit integers.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from nst_core.inference.openvino_runtime import runtime
from nst_core.nets.transformer_config import TransformerConfig

Floats = npt.NDArray[np.float32]
#: A node of a graph, or one of its outputs.
Node = Any
#: Of the first and the second doubled map: whether its last row is cropped, and its last column.
OddSizes = tuple[tuple[bool, bool], tuple[bool, bool]]
EVEN: OddSizes = ((False, False), (False, False))
#: The least and the largest value of a map.
Range = tuple[float, float]
_ROWS, _COLUMNS = 2, 3
#: A slice that ends here has everything to the end.
_END = 2**31


class Graph:
    """The layers of one graph; `model` compiles into something that runs.

    The picture is N x H x W x 3 outside and N x 3 x H x W inside. A strip is a part of a picture or of a map with all
    of its columns and some of its rows.
    """

    def __init__(
        self, config: TransformerConfig, tensors: Mapping[str, Floats], ranges: Mapping[str, Range] | None = None
    ) -> None:
        """Take the config and the float32 tensors of a network by their names in its state.

        With the `ranges` of the inputs of its 3 x 3 convolutions by their names, these compute in 8-bit integers.
        """
        runtime()
        from openvino import opset15

        self.config = config
        self.is_wide = False
        self._tensors = tensors
        self._op = opset15
        self._inputs: list[Node] = []
        self._ranges = ranges
        #: The inputs of 3 x 3 convolutions by their names.
        self.convolved: dict[str, Node] = {}

    def input(self, name: str, shape: Sequence[int], dtype: Any = np.float32) -> Node:
        """Return a new input; a length of -1 may differ from call to call."""
        node = self._op.parameter(runtime().PartialShape(list(shape)), dtype, name=name)
        node.output(0).get_tensor().set_names({name})
        self._inputs.append(node)
        return node

    def model(self, outputs: Mapping[str, Node]) -> Any:
        """Return the graph from all inputs to the outputs, by their names."""
        results = []
        for name, node in outputs.items():
            result = self._op.result(node)
            result.output(0).get_tensor().set_names({name})
            results.append(result)
        return runtime().Model(results, self._inputs, "transformer")

    def constant(self, values: Any, dtype: Any = np.float32) -> Node:
        """Return a constant of an array or number."""
        return self._op.constant(np.asarray(values, dtype=dtype))

    def photo(self) -> Node:
        """Return the input of a photo as floats, 0 to 255, in channels, rows and columns."""
        pixels = self._op.convert(self.input("photo", [1, -1, -1, 3], np.uint8), "f32")
        return self._op.transpose(pixels, self.constant([0, 3, 1, 2], np.int64))

    def conv(self, x: Node, name: str, rows: Node | None = None) -> Node:
        """Return a convolution of the network; of a strip, `rows` are the rows to pad before and after it."""
        weights = self._tensors[f"{name}.weight"]
        if name == "down1.conv":
            weights = weights / np.float32(255)
        stride = 2 if name in ("down2.conv", "down3.conv") else 1
        if weights.shape[2] != 3:
            return self._padded_conv(x, self.constant(weights), stride, rows)
        self.convolved[name] = x
        if self._ranges is None:
            return self._padded_conv(x, self.constant(weights), stride, rows)
        largest = np.abs(weights).max((1, 2, 3), keepdims=True)
        kernel = self._quantised(self.constant(weights), -largest, largest, levels=255)
        return self._padded_conv(self._quantised(x, *self._ranges[name]), kernel, stride, rows)

    def norm(self, x: Node, name: str, *, relu: bool = True, given: bool = False, large: bool = False) -> Node:
        """Return the normalised map, with ReLU after it; `given` statistics are inputs of the graph.

        They come as scale and shift, which include the weight and bias of the layer. See `whole` for `large`.
        """
        op, config = self._op, self.config
        weight, bias = (self._tensors[f"{name}.{part}"].reshape(1, -1, 1, 1) for part in ("weight", "bias"))
        if given:
            y = op.multiply(x, self._per_channel(f"{name}.scale", weight.size))
            y = op.add(y, self._per_channel(f"{name}.shift", weight.size))
        elif config.norm == "batch":
            mean, variance = (self._tensors[f"{name}.running_{part}"].reshape(1, -1, 1, 1) for part in ("mean", "var"))
            scale = weight / np.sqrt(variance + np.float32(config.norm_eps))
            y = op.add(op.multiply(x, self.constant(scale)), self.constant(bias - mean * scale))
        elif large:
            y = self._normalised_by_rows(x, weight, bias)
        else:
            z = op.mvn(x, self.constant([_ROWS, _COLUMNS], np.int64), True, config.norm_eps, "inside_sqrt")
            y = op.add(op.multiply(z, self.constant(weight)), self.constant(bias))
        return op.relu(y) if relu else y

    def _normalised_by_rows(self, x: Node, weight: Floats, bias: Floats) -> Node:
        """Return the normalised map with sums over each row, then over the rows."""
        op, rows, columns = self._op, self.constant([_ROWS], np.int64), self.constant([_COLUMNS], np.int64)
        centred = op.subtract(x, op.reduce_mean(op.reduce_mean(x, columns, True), rows, True))
        squares = op.power(op.reduce_l2(centred, columns, True), self.constant(2))
        width = op.convert(op.gather(op.shape_of(x), columns, self.constant(0, np.int64)), "f32")
        variance = op.divide(op.reduce_mean(squares, rows, True), width)
        scale = op.divide(self.constant(weight), op.sqrt(op.add(variance, self.constant(self.config.norm_eps))))
        return op.add(op.multiply(centred, scale), self.constant(bias))

    def moments(self, x: Node) -> dict[str, Node]:
        """Return mean and variance of each channel."""
        op, axes = self._op, self.constant([_ROWS, _COLUMNS], np.int64)
        mean = op.reduce_mean(x, axes, True)
        squares = op.power(op.subtract(x, mean), self.constant(2))
        return {"mean": mean, "variance": op.reduce_mean(squares, axes, True)}

    def add(self, x: Node, y: Node) -> Node:
        """Return the sum of two maps."""
        return self._op.add(x, y)

    def size(self, x: Node) -> Node:
        """Return height and width of a map."""
        shape = self._op.shape_of(x)
        return self._op.gather(shape, self.constant([_ROWS, _COLUMNS], np.int64), self.constant(0, np.int64))

    def up(self, x: Node, name: str, size: Node | None) -> Node:
        """Return the convolution of a map after its size was doubled and cropped to `size`, unless that is None."""
        if self.config.upsample == "transposed":
            return self._transposed(x, name, size)
        doubled = self._doubled(x, _ROWS, _COLUMNS)
        return self.conv(doubled if size is None else self.cropped(doubled, size), name)

    def up_at_once(
        self, x: Node, name: str, rows: Node | None = None, *, odd: tuple[bool, bool] = (False, False)
    ) -> Node:
        """Return what `up` returns for a reflection-padded map, in one operation.

        Of a strip, `rows` are the rows to repeat before and after it; see `passes.Layers`. `odd`: whether the doubled
        map is cropped by its last row, and by its last column.
        """
        columns = [1, 0 if odd[1] else 1]
        if rows is None and not odd[0]:
            padded = self._padded(x, 1, None, columns=columns, mode="edge")
        else:
            rows = self.constant([1, 0], np.int64) if rows is None else rows
            padded = self._padded(x, 1, rows, columns=columns, mode="edge")
        # The rows and columns that see only a part of the padded map are left out: 3 on each side.
        weights = self.constant(_transposed_weights(self._tensors[f"{name}.weight"]))
        y = self._op.convolution_backprop_data(
            padded, weights, [2, 2], pads_begin=[3, 3], pads_end=[3, 3], dilations=[1, 1]
        )
        return self._with_last(y, x, name, rows=rows, odd=odd)

    def _with_last(self, y: Node, x: Node, name: str, *, rows: Node | None, odd: tuple[bool, bool]) -> Node:
        """Return the map y of `up_at_once` with the last column and the last row, where they are `odd`.

        Such a column reads the last column of the doubled map, and on both sides of it the one before.
        """
        op, weights = self._op, self.constant(self._tensors[f"{name}.weight"])

        def convolved(part: Node) -> Node:
            return op.convolution(part, weights, [1, 1], [0, 0], [0, 0], [1, 1])

        def sliced(part: Node, first: int, end: int, axis: int) -> Node:
            return op.slice(part, *(self.constant([number], np.int64) for number in (first, end, 1, axis)))

        def last(axis: int) -> Node:
            two = sliced(x, -2, _END, axis)
            return op.gather(two, self.constant([0, 1, 0], np.int64), self.constant(axis, np.int64))

        if odd[1]:
            column = self._doubled(self._padded(last(_COLUMNS), 1, rows, columns=[0, 0], mode="edge"), _ROWS)
            y = op.concat([y, convolved(sliced(column, 1, -1, _ROWS))], _COLUMNS)
        if odd[0]:
            row = sliced(self._doubled(last(_ROWS), _COLUMNS), 0, -1 if odd[1] else _END, _COLUMNS)
            one_column = self.constant([0, 0, 0, 1], np.int64)
            y = op.concat([y, convolved(op.pad(row, one_column, one_column, "reflect"))], _ROWS)
        return y

    def _doubled(self, x: Node, *axes: int) -> Node:
        """Return each value twice along some axes."""
        return self._op.interpolate(
            x,
            self.constant([2] * len(axes)),
            "nearest",
            "scales",
            axes=self.constant(axes, np.int64),
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def head(self, x: Node, rows: Node | None = None) -> Node:
        """Return the picture that the last convolution makes of a map, 0 to 255."""
        op, weights = self._op, self._tensors["head.weight"]
        if self.config.padding != "reflect" or self.config.head_norm:
            y = self._padded_conv(x, self.constant(weights), 1, rows)
            if self.config.head_norm:
                return self._output(self.norm(y, "head_norm", relu=False))
            return self._output(op.add(y, self.constant(self._tensors["head.bias"].reshape(1, 3, 1, 1))))
        channels = weights.shape[1]
        blocks = np.zeros((2, 2, 3, channels, 10, 10), np.float32)
        for row in (0, 1):
            for column in (0, 1):
                blocks[row, column, :, :, row : row + 9, column : column + 9] = weights
        # One more row and column, so that a last block that is half outside is computed too.
        padded = self._padded(x, 4, rows, more=1)
        y = op.convolution(padded, self.constant(blocks.reshape(12, channels, 10, 10)), [2, 2], [0, 0], [0, 0], [1, 1])
        y = op.add(y, self.constant(np.tile(self._tensors["head.bias"], 4).reshape(1, 12, 1, 1)))
        return op.depth_to_space(self._output(y), "blocks_first", 2)

    def picture(self, y: Node, size: Node) -> Node:
        """Return what `head` returned as N x H x W x 3 bytes of a size, or as levels if a palette is to follow."""
        op, config = self._op, self.config
        y = self.cropped(y, size, at_start=config.crop == "start")
        y = op.transpose(y, self.constant([0, 2, 3, 1], np.int64))
        return op.convert(y, "f32") if config.palette else op.convert(op.round(y, "half_to_even"), "u8")

    def cropped(self, x: Node, size: Node, *, at_start: bool = False) -> Node:
        """Return the first (or the last) rows and columns of a map."""
        op, axes, ones = self._op, self.constant([_ROWS, _COLUMNS], np.int64), self.constant([1, 1], np.int64)
        if at_start:
            return op.slice(x, op.negative(size), self.constant([2**31] * 2, np.int64), ones, axes)
        return op.slice(x, self.constant([0, 0], np.int64), size, ones, axes)

    def map(self, name: str) -> Node:
        """Return the input of a stored map; see `passes.Layers.map`."""
        dtype = np.float32 if self.is_wide else np.float16
        rows = self._op.convert(self.input(name, [-1, 4 * self.config.width, -1], dtype), "f32")
        return self._op.unsqueeze(
            self._op.transpose(rows, self.constant([1, 0, 2], np.int64)), self.constant(0, np.int64)
        )

    def stored(self, x: Node) -> Node:
        """Return a map as it is stored."""
        op = self._op
        rows = op.transpose(op.squeeze(x, self.constant([0], np.int64)), self.constant([1, 0, 2], np.int64))
        return op.convert(rows, "f32" if self.is_wide else "f16")

    def cut(self, x: Node, name: str) -> Node:
        """Return a part of a map; see `passes.Layers.cut`."""
        op, place = self._op, self.input(name, [2, 2], np.int64)
        first, end = (
            op.squeeze(part, self.constant([0], np.int64))
            for part in op.split(place, self.constant(0, np.int64), 2).outputs()
        )
        axes = self.constant([_ROWS, _COLUMNS], np.int64)
        return op.slice(x, first, end, self.constant([1, 1], np.int64), axes)

    def size_input(self, name: str) -> Node:
        """Return an input of height and width."""
        return self.input(name, [2], np.int64)

    def _output(self, y: Node) -> Node:
        """Return the values 0 to 255 of the output function."""
        op = self._op
        if self.config.output == "linear":
            y = op.add(op.multiply(y, self.constant(255)), self.constant(127.5))
        else:
            # 127.5 + 150 tanh y, but tanh takes several times as long.
            y = op.sigmoid(op.multiply(y, self.constant(2)))
            y = op.subtract(op.multiply(y, self.constant(300)), self.constant(22.5))
        return op.clamp(y, 0.0, 255.0)

    def _per_channel(self, name: str, channels: int) -> Node:
        """Return an input of 1 x C x 1 x 1.

        It goes through a convolution that changes nothing, after which it is in the memory format of maps. Otherwise
        the plugin would reorder each map into the format of the input, and back.
        """
        same = np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1)
        value = self.input(name, [1, channels, 1, 1])
        return self._op.convolution(value, self.constant(same), [1, 1], [0, 0], [0, 0], [1, 1])

    def limits(self, name: str) -> dict[str, Node]:
        """Return the least and the largest value of the input of a 3 x 3 convolution, `<name>.least` and `.largest`."""
        op, axes = self._op, self.constant([0, 1, _ROWS, _COLUMNS], np.int64)
        x = self.convolved[name]
        return {f"{name}.least": op.reduce_min(x, axes), f"{name}.largest": op.reduce_max(x, axes)}

    def _quantised(self, x: Node, least: Any, largest: Any, *, levels: int = 256) -> Node:
        """Return values rounded to one of so many levels, which lets the convolution after it compute in integers."""
        limits = [self.constant(least), self.constant(largest)]
        return self._op.fake_quantize(x, *limits, *limits, levels)

    def _padded_conv(self, x: Node, kernel: Node, stride: int, rows: Node | None) -> Node:
        op = self._op
        margin = kernel.output(0).get_shape()[2] // 2
        if self.config.padding == "same":
            return op.convolution(x, kernel, [stride] * 2, [0, 0], [0, 0], [1, 1], "same_upper")
        if self.config.padding == "zero":
            return op.convolution(x, kernel, [stride] * 2, [margin] * 2, [margin] * 2, [1, 1])
        return op.convolution(self._padded(x, margin, rows), kernel, [stride] * 2, [0, 0], [0, 0], [1, 1])

    def _padded(
        self,
        x: Node,
        margin: int,
        rows: Node | None,
        *,
        columns: Sequence[int] | None = None,
        more: int = 0,
        mode: str = "reflect",
    ) -> Node:
        """Return a map with `margin` rows and columns around it, and `more` after it.

        Of a strip, `rows` are the rows before and after it instead. `columns` may be those instead, too.
        """
        op = self._op
        left, right = columns if columns is not None else (margin, margin + more)
        if rows is None:
            before, after = [0, 0, margin, left], [0, 0, margin + more, right]
            return op.pad(x, self.constant(before, np.int64), self.constant(after, np.int64), mode)
        nothing = self.constant([0, 0], np.int64)
        first, last = op.split(rows, self.constant(0, np.int64), 2).outputs()
        begin, end = (
            op.concat([nothing, height, self.constant([width], np.int64)], 0)
            for height, width in ((first, left), (last, right))
        )
        return op.pad(x, begin, end, mode)

    def _transposed(self, x: Node, name: str, size: Node | None) -> Node:
        op, weights = self._op, self.constant(self._tensors[f"{name}.weight"])
        target = size if size is not None else op.multiply(self.size(x), self.constant(2, np.int64))
        if self.config.padding == "same":
            y = op.convolution_backprop_data(x, weights, [2, 2], pads_begin=[0, 0], pads_end=[0, 0], dilations=[1, 1])
            return self.cropped(y, target)
        return op.convolution_backprop_data(
            x, weights, [2, 2], target, pads_begin=[1, 1], pads_end=[1, 1], dilations=[1, 1]
        )


def _transposed_weights(weights: Floats) -> Floats:
    """Return C_in x C_out x 4 x 4 of C_out x C_in x 3 x 3: the convolution after doubling as a transposed one.

    Row r of the doubled picture is row r // 2 of the small one, so that row i of the small one reaches rows 2i - 1 to
    2i + 2 of the result: through tap t those rows r with r + t - 1 in (2i, 2i + 1).
    """
    c_out, c_in = weights.shape[:2]
    result = np.zeros((c_in, c_out, 4, 4), np.float32)
    for row in range(3):
        for column in range(3):
            part = weights[:, :, row, column].T
            for first in (2 - row, 3 - row):
                for second in (2 - column, 3 - column):
                    result[:, :, first, second] += part
    return result


def whole(graph: Graph, *, odd: OddSizes, large: bool = False) -> dict[str, Node]:
    """Return the outputs of a graph of whole photos: `picture`, of the input `photo`, N x H x W x 3 each.

    A photo has bytes, and so has a picture, or levels if a palette is to follow. Photos must have `odd_sizes`, so that
    no shape depends on values, for which OpenVINO would take several times as much memory. OpenVINO sums the values of
    a map one after the other, so that rounding errors grow with the photo, to several grey levels at 12 megapixels.
    Graphs for `large` photos do not; for small ones that would take longer.
    """
    config, norm = graph.config, partial(graph.norm, large=large)
    x = graph.photo()
    size = graph.size(x)
    sizes = []
    for name in ("down1", "down2", "down3"):
        x = norm(graph.conv(x, f"{name}.conv"), f"{name}.norm")
        sizes.append(graph.size(x))
    for block in range(config.blocks):
        name = f"residuals.{block}"
        y = norm(graph.conv(x, f"{name}.conv1"), f"{name}.norm1")
        x = graph.add(x, norm(graph.conv(y, f"{name}.conv2"), f"{name}.norm2", relu=False))
    at_once = config.upsample == "nearest" and config.padding == "reflect"
    for name, lost, target in zip(("up1", "up2"), odd, sizes[1::-1], strict=True):
        if at_once:
            y = graph.up_at_once(x, f"{name}.conv", odd=lost)
        else:
            y = graph.up(x, f"{name}.conv", target if config.crop == "layers" else None)
        x = norm(y, f"{name}.norm")
    picture = graph.picture(graph.head(x), size)
    return {"picture": picture}


def odd_sizes(config: TransformerConfig, height: int, width: int) -> OddSizes:
    """Return whether the first and the second doubled map of a photo are cropped to an odd height and width."""
    if config.upsample != "nearest" or config.padding != "reflect" or config.crop != "layers":
        return EVEN
    half = -(-height // 2), -(-width // 2)
    return (half[0] % 2 == 1, half[1] % 2 == 1), (height % 2 == 1, width % 2 == 1)
