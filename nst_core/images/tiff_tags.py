"""The directories of a TIFF file, one for each picture: where its pixels are and what they mean."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

NEW_SUBFILE_TYPE, SUBFILE_TYPE = 254, 255
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES, STRIP_ROWS, STRIP_BYTES = 266, 273, 274, 277, 278, 279
PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 284, 317, 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT, PROFILE = 338, 339, 34675
_WANTED = frozenset(
    {NEW_SUBFILE_TYPE, SUBFILE_TYPE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS}
    | {ORIENTATION, SAMPLES, STRIP_ROWS, STRIP_BYTES, PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS}
    | {TILE_BYTES, EXTRA_SAMPLES, SAMPLE_FORMAT, PROFILE}
)
#: NumPy's names of the types that are whole numbers.
_TYPES = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 13: "u4", 16: "u8", 17: "i8", 18: "u8"}
#: The most directories that are read.
_MOST = 1_000


@dataclass(frozen=True)
class Directory:
    """The description of one picture in a file."""

    #: "<" for little-endian numbers, ">" for big-endian ones.
    order: str
    #: Values by tag, without the profile.
    values: dict[int, tuple[int, ...]]
    profile: bytes | None

    def first(self, tag: int, default: int) -> int:
        """Return a tag's first value."""
        return self.values.get(tag, (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        return self.first(WIDTH, 0), self.first(HEIGHT, 0)

    @property
    def is_page(self) -> bool:
        """Whether it is a separate picture, and not a thumbnail or a mask of another one."""
        return not self.first(NEW_SUBFILE_TYPE, 0) & 0b101 and self.first(SUBFILE_TYPE, 1) != 2


def directories(data: bytes) -> list[Directory]:
    """Return the first directories of a TIFF or BigTIFF file; raise ValueError or struct.error if it is damaged."""
    found, seen = list[Directory](), set[int]()
    order = "<" if data.startswith(b"II") else ">"
    is_big = data[2:4] in (b"\x2b\0", b"\0\x2b")
    (at,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
    while at and at not in seen and len(found) < _MOST:
        seen.add(at)
        try:
            directory, at = _directory(data, at, order, is_big)
        except (struct.error, ValueError):
            if not found:
                raise
            break  # anything after a complete picture does not matter
        found.append(directory)
    if not found:
        raise ValueError("no directory")
    return found


def _directory(data: bytes, at: int, order: str, is_big: bool) -> tuple[Directory, int]:
    """Return the directory at an offset, and the offset of the next one, 0 for none."""
    count_code, entry_code = ("Q", "HHQ") if is_big else ("H", "HHI")
    (count,) = struct.unpack_from(order + count_code, data, at)
    at += struct.calcsize("<" + count_code)
    size = 20 if is_big else 12
    values: dict[int, tuple[int, ...]] = {}
    profile = None
    for entry in range(at, at + min(count, len(data) // size) * size, size):
        tag, kind, number = struct.unpack_from(order + entry_code, data, entry)
        if tag not in _WANTED or kind not in _TYPES or not number:
            continue
        found = _values(data, entry + struct.calcsize("<" + entry_code), order, kind, number, is_big)
        if tag == PROFILE:
            profile = found.tobytes()
        else:
            values[tag] = tuple(found.tolist())
    (following,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, at + count * size)
    return Directory(order=order, values=values, profile=profile), int(following)


def _values(
    data: bytes, field: int, order: str, kind: int, number: int, is_big: bool
) -> "np.ndarray[tuple[int], np.dtype[np.integer]]":
    dtype = np.dtype(order + _TYPES[kind])
    inline = 8 if is_big else 4
    if dtype.itemsize * number > inline:
        (field,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, field)
    return np.frombuffer(data, dtype, number, field)  # ValueError if it is not all there


def samples_bytes(directory: Directory) -> int:
    """Return the bytes of all samples of a picture."""
    width, height = directory.size
    return width * height * directory.first(SAMPLES, 1) * _sample_bytes(directory)


def block_bytes(directory: Directory) -> int:
    """Return the bytes of an unpacked strip or tile of a picture; a file may name any number."""
    depth = 1 if directory.first(PLANAR, 1) == 2 else directory.first(SAMPLES, 1)
    return prod(_block_size(directory)) * depth * _sample_bytes(directory)


def _sample_bytes(directory: Directory) -> int:
    return -(-max(directory.values.get(BITS, (1,))) // 8)


def _block_size(directory: Directory) -> tuple[int, int]:
    """Return width and height of a strip or tile."""
    width, height = directory.size
    if TILE_OFFSETS in directory.values:
        return directory.first(TILE_WIDTH, 0), directory.first(TILE_HEIGHT, 0)
    return width, min(height, directory.first(STRIP_ROWS, height))


def blocks(directory: Directory) -> Iterator[tuple[int, int, int, int, int, int, int]]:
    """Yield plane, left, top, width, height, offset and bytes of each strip or tile of a picture.

    A tile at an edge may extend beyond the picture; a strip does not. The only plane is 0 if the samples of a pixel
    are stored together.
    """
    width, height = directory.size
    planes = directory.first(SAMPLES, 1) if directory.first(PLANAR, 1) == 2 else 1
    is_tiled = TILE_OFFSETS in directory.values
    across, down = _block_size(directory)
    if min(across, down) < 1:
        raise ValueError("a block has no size")
    offsets = directory.values[TILE_OFFSETS if is_tiled else STRIP_OFFSETS]
    sizes = directory.values.get(TILE_BYTES if is_tiled else STRIP_BYTES)
    number = 0
    for plane in range(planes):
        for top in range(0, height, down):
            for left in range(0, width, across):
                rows = down if is_tiled else min(down, height - top)
                size = sizes[number] if sizes is not None else 1 << 40
                yield plane, left, top, across, rows, offsets[number], size
                number += 1
