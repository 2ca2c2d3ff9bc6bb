"""Pictures of any size, in strips, with the exact statistics of the whole picture: no seams.

Instance normalisation needs mean and variance of each map of the whole picture before the next layer can begin. So
there is a pass over the picture for each layer that is normalised. Maps with a quarter of the picture's height and
width are stored between passes; larger ones would not fit and are computed again from the photo or from the last stored
map. Each strip comes with the rows around it that its convolutions read, so that its own rows are those of the whole
picture.

URST (Chen et al., "Towards Ultra-Resolution Neural Style Transfer", 2022) also cuts pictures for the same networks, but
takes statistics from a thumbnail and 32 pixels of overlap, so that its seams are small, not absent.
"""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nst_core.errors import WeightsError
from nst_core.inference.halves import HalfOverflowError, check
from nst_core.inference.passes import Layers, Up, complete, decoder, encoder, first_half, second_half
from nst_core.inference.row_ranges import Rows, conv_source, head_source, strips, up_source
from nst_core.inference.strip_statistics import Statistics
from nst_core.inference.stylizer import Pixels
from nst_core.nets.costs import MAPS_IN_MEMORY, STRIP_PIXELS, STRIP_ROOM
from nst_core.nets.grain import grained
from nst_core.nets.transformer_config import TransformerConfig

Array = np.ndarray[Any, Any]
#: Defines a pass: from its layers to its outputs by name.
Define = Callable[[Layers], dict[str, Any]]
#: Runs a pass on one strip: a key that tells passes apart, how it is defined, and the inputs by name, of which it may
#: need a part only.
Run = Callable[[tuple[Any, ...], Define, Mapping[str, Any]], Mapping[str, Array]]
#: What keys of passes end with that are for floats only, also in an engine that multiplies integers.
FLOATS = "floats"
MapType = type[np.float16] | type[np.float32]
#: The types of stored maps; each photo gets the first one that holds all of its values.
_MAP_TYPES: tuple[MapType, ...] = (np.float16, np.float32)
#: Rows of the strips of the widest photos: four of a stored map, of which the last strip may have two, as many as
#: padding reads. It is a multiple of 4 `tile` for every engine.
_LEAST_ROWS = 16


@dataclass(frozen=True, kw_only=True)
class StripSize:
    """How large strips are: larger ones share fewer rows with their neighbours, and fit less well into caches."""

    #: Pixels of a strip of the photo.
    pixels: int = STRIP_PIXELS
    #: Rows of it that there are at least, unless the photo is so wide that they would take more than `STRIP_ROOM`.
    rows: int = 64
    #: Strips begin at multiples of so many rows, if `rows` is one.
    multiple: int = 4
    #: Rows of the tiles in which the engine computes convolutions. Strips of maps begin and end at those of the whole
    #: picture, so that the same values are rounded together.
    tile: int = 1
    #: The memory that a pixel of a strip takes, in that of a pixel of a whole photo, and the rows around a strip that
    #: take as much. Measured with strips of 24 and 96 rows, and rounded up.
    share: float = 1.5
    around: int = 32

    def rows_for(self, width: int) -> int:
        """Return the rows of a strip of a photo of a width; the last one has up to half as many again.

        They do not depend on the memory of the machine, since sums of other strips are rounded otherwise.
        """
        rows = max(self.rows, self.pixels // width // self.multiple * self.multiple)
        fitting = (STRIP_ROOM / (self.share * width) - self.around) / 1.5
        return rows if rows <= fitting else max(_LEAST_ROWS, int(fitting) // _LEAST_ROWS * _LEAST_ROWS)

    def room(self, height: int, width: int) -> int:
        """Return how many pixels of a whole photo need as much memory as the largest strip of a photo of a size."""
        rows = max(map(len, strips(height, self.rows_for(width))))
        return int(self.share * (rows + self.around) * width)


def supports(config: TransformerConfig) -> bool:
    """Return whether pictures can be cut for a network of this kind."""
    return (config.norm, config.padding, config.upsample, config.head_norm, config.crop == "start") == (
        "instance",
        "reflect",
        "nearest",
        False,
        False,
    )


class StoredMap:
    """A map of the picture between passes, rows x channels x columns, in memory or in a file.

    An engine may keep the values of a row in an order of its own. The file is read and written, not mapped: its pages
    do not count as memory of the process, and a full disk is an OSError.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: MapType = np.float16, *, file: BinaryIO | None) -> None:
        self._row = shape[1:]
        self._file = file
        self._dtype = dtype
        self._values = np.empty(shape if file is None else (0,), dtype)

    def read(self, rows: Rows) -> Array:
        """Return some rows that have been written: in memory, they change when the map does."""
        if self._file is None:
            return self._values[rows.first : rows.end]
        values = np.empty((len(rows), *self._row), self._dtype)
        self._file.seek(rows.first * values[0].nbytes)
        self._file.readinto(values.data.cast("B"))  # type: ignore[attr-defined]
        return values

    def write(self, rows: Rows, values: Array) -> None:
        """Replace some rows."""
        if self._file is None:
            self._values[rows.first : rows.end] = values
            return
        values = np.ascontiguousarray(values, self._dtype)
        self._file.seek(rows.first * values[0].nbytes)
        self._file.write(values.data.cast("B"))


class LargePicture:
    """One photo on its way through the passes."""

    def __init__(
        self,
        config: TransformerConfig,
        tensors: Mapping[str, npt.NDArray[np.float32]],
        photo: Pixels,
        run: Run,
        *,
        size: StripSize = StripSize(),
        in_memory_bytes: int = MAPS_IN_MEMORY,
        floats: bool = False,
    ) -> None:
        """Take an H x W x 3 photo, and the tensors of a network of a kind that `supports` knows, as float32.

        With `floats`, the keys of passes end with `FLOATS`.
        """
        self._config, self._tensors, self._photo, self._run = config, tensors, photo, run
        height, width = photo.shape[:2]
        half, quarter = (-(-height // 2), -(-width // 2)), (-(-height // 4), -(-width // 4))
        #: Height and width of the maps of the encoder and of the upsampled ones.
        self._encoded = ((height, width), half, quarter)
        self._upsampled = (half, (height, width))
        if config.crop == "end":
            self._upsampled = (2 * quarter[0], 2 * quarter[1]), (4 * quarter[0], 4 * quarter[1])
        self._tile = size.tile
        #: Rows of a strip of the photo.
        self._rows = size.rows_for(width)
        self._in_memory_bytes = in_memory_bytes
        self._floats = floats
        self._begin(np.float16)

    def _begin(self, map_type: MapType) -> None:
        """Begin the first pass, with stored maps of a type."""
        self._map_type = map_type
        #: By the name of a normalisation: its inputs.
        self._affine: dict[str, Array] = {}
        #: What no value of x exceeds in size, of each channel, after all that is added to it.
        self._largest: Any = 0.0

    def picture(self, result: Pixels | None = None) -> Pixels:
        """Return the stylized photo, in the memory of `result` if it is given; see `Stylizer.__call__`.

        Raises WeightsError if the values of the network's maps are too large for float32.
        """
        result = np.empty_like(self._photo, order="C") if result is None else result
        for map_type in _MAP_TYPES:
            self._begin(map_type)
            with suppress(HalfOverflowError), ExitStack() as files:
                self._store(files)
                self._measure()
                return self._apply(result)
            del self._x, self._y  # before there are larger ones
        raise WeightsError("The maps of the style's network have values that are too large for 32-bit floats.")

    def _store(self, files: ExitStack) -> None:
        """Make the stored maps."""
        quarter = self._encoded[2]
        shape = (quarter[0], 4 * self._config.width, quarter[1])
        nbytes = np.dtype(self._map_type).itemsize * prod(shape)
        # Half as often read and written as y.
        self._x = StoredMap(shape, self._map_type, file=self._file(files, 2 * nbytes))
        self._y = StoredMap(shape, self._map_type, file=self._file(files, nbytes))

    def _file(self, files: ExitStack, nbytes: int) -> BinaryIO | None:
        """Return a file for a map, unless `nbytes` may be in memory."""
        if nbytes <= self._in_memory_bytes:
            return None
        return files.enter_context(tempfile.TemporaryFile(prefix="nst-map-"))

    def _measure(self) -> None:
        """Make all passes but the last, so that the statistics of every map are known."""
        for depth in (1, 2, 3):
            self._encode(depth)
        for block in range(self._config.blocks):
            self._convolve(first_half, block, f"residuals.{block}.norm1")
            self._convolve(second_half, block, f"residuals.{block}.norm2")
        if self._config.blocks:
            self._complete(self._config.blocks)
        for depth in (1, 2):
            self._upsample(depth)

    def _apply(self, picture: Pixels) -> Pixels:
        """Make the last pass, into a picture."""
        height, width = self._photo.shape[:2]
        for rows in strips(height, self._rows):
            source, missing = head_source(rows).within(self._upsampled[1][0], multiple=2 * self._tile)
            inputs: dict[str, Any] = {"head.rows": missing, "size": np.array([len(rows), width])}
            picture[rows.first : rows.end] = self._decode(3, source, inputs)["picture"][0]
        return picture

    def _encode(self, depth: int) -> None:
        statistics, size = Statistics(), self._encoded[depth - 1]
        for rows in strips(size[0], self._rows // 2 ** (depth - 1)):
            wanted = rows
            inputs: dict[str, Any] = {}
            for number in range(depth, 0, -1):
                source = conv_source(wanted, kernel=9 if number == 1 else 3, stride=1 if number == 1 else 2)
                multiple = self._tile if number == 2 else 1  # of the result of the convolution in tiles
                wanted, inputs[f"down{number}.rows"] = source.within(
                    self._encoded[max(number - 2, 0)][0], multiple=multiple
                )
            part = self._photo[wanted.first : wanted.end]
            inputs["photo"] = grained(part, self._config.grain, top=wanted.first)[None]
            outputs = self._call(("encoder", depth), partial(encoder, depth=depth), inputs)
            statistics.add(len(rows) * size[1], outputs["mean"], outputs["variance"])
            if depth == 3:
                self._check(outputs["map"], statistics.largest)
                self._x.write(rows, outputs["map"])
        self._normalise(statistics, f"down{depth}.norm")

    def _complete(self, block: int) -> None:
        for rows in strips(self._encoded[2][0], self._rows // 4):
            inputs = {"x": self._x.read(rows), "y": self._y.read(rows)}
            outputs = self._call(("complete", block), partial(complete, block=block), inputs)
            self._check(outputs["completed"], self._largest)
            self._x.write(rows, outputs["completed"])

    def _convolve(self, define: Callable[..., dict[str, Any]], block: int, norm: str) -> None:
        """Make the pass of one convolution of a residual block, from the stored maps to y, and complete x."""
        statistics, size = Statistics(), self._encoded[2]
        maps = {"x": self._x} if define is first_half else {"y": self._y}
        if block:
            maps["y"] = self._y
        made: list[tuple[StoredMap, Rows, Array]] = []
        for rows in strips(size[0], self._rows // 4):
            wanted, missing = conv_source(rows, kernel=3).within(size[0])
            inputs = {name: stored.read(wanted) for name, stored in maps.items()} | {"rows": missing}
            outputs = self._call((define.__name__, block), partial(define, block=block), inputs)
            # Only now may the rows before these be replaced: the last one of them was read once more.
            _write(made)
            statistics.add(len(rows) * size[1], outputs["mean"], outputs["variance"])
            self._check(outputs["map"], statistics.largest)
            made = [(self._y, rows, outputs["map"])]
            if "completed" in outputs:
                self._check(outputs["completed"], self._largest)
                first = rows.first - wanted.first
                made.append((self._x, rows, outputs["completed"][first : first + len(rows)]))
        _write(made)
        self._normalise(statistics, norm)

    def _upsample(self, depth: int) -> None:
        statistics, size = Statistics(), self._upsampled[depth - 1]
        for rows in strips(size[0], self._rows // (4 // 2**depth)):
            outputs = self._decode(depth, rows, {})
            statistics.add(len(rows) * size[1], outputs["mean"], outputs["variance"])
        self._normalise(statistics, f"up{depth}.norm")

    def _decode(self, depth: int, wanted: Rows, inputs: dict[str, Any]) -> Mapping[str, Array]:
        """Return what the decoder makes of the rows of its last upsampled map that are wanted."""
        ups: list[Up] = []
        for number in range(min(depth, 2), 0, -1):
            name, size = f"up{number}", self._upsampled[number - 1]
            below = self._upsampled[0] if number == 2 else self._encoded[2]
            odd = wanted.end == size[0] < 2 * below[0], size[1] < 2 * below[1]
            source, place = up_source(wanted, size[0], multiple=max(2, self._tile))
            made = 2 * (len(source) - 2) - odd[0]
            wanted, missing = source.within(below[0])
            ups.insert(0, Up(odd=odd, cut=len(place) < made))
            inputs |= {
                f"{name}.rows": missing - np.array([0, odd[0]]),
                f"{name}.cut": np.array([[place.first, 0], [place.end, size[1]]], np.int64),
            }
        inputs["x"] = self._x.read(wanted)
        return self._call(
            ("decoder", depth, *ups), partial(decoder, depth=depth, ups=ups, encoded=not self._config.blocks), inputs
        )

    def _check(self, stored: Array, sizes: Array) -> None:
        """Raise HalfOverflowError if a map that is to be stored had values beyond the range of its type."""
        if self._map_type is np.float16:
            check(stored, sizes)

    def _call(self, key: tuple[Any, ...], define: Define, inputs: Mapping[str, Any]) -> Mapping[str, Array]:
        if self._map_type is not np.float16:
            key, define = (*key, "wide"), partial(_with_wide_maps, define)
        if self._floats:
            key = (*key, FLOATS)
        return self._run(key, define, {**inputs, **self._affine})

    def _normalise(self, statistics: Statistics, name: str) -> None:
        """Keep the normalisation of a map whose statistics are known."""
        scale, shift = statistics.affine(
            self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"], self._config.norm_eps
        )
        self._affine |= {f"{name}.scale": scale, f"{name}.shift": shift}
        if name == "down3.norm" or name.endswith(".norm2"):  # what x begins with, and what is added to it
            self._largest = self._largest + np.abs(scale) * statistics.largest + np.abs(shift)


def _with_wide_maps(define: Define, layers: Layers) -> dict[str, Any]:
    layers.is_wide = True
    return define(layers)


def _write(made: list[tuple[StoredMap, Rows, Array]]) -> None:
    for stored, rows, values in made:
        stored.write(rows, values)
