"""Reads JPEG files, and detects missing pixels, which libjpeg fills with grey and Pillow does not report.

Pillow refuses a file without the two end bytes, even if all pixels are present. Here the end is added. To find missing
pixels, the file is decoded twice with different bytes appended: pixels that differ are not in the file.
"""

import re
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from nst_core.errors import ImageDecodeError, ImageFormatError
from nst_core.images.source import Loaded, Source, loaded, opened

_START_OF_SCAN, _END, _RESTART_INTERVAL = 0xDA, 0xD9, 0xDD
_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1, 0xC9), (0xC2, 0xCA)
#: Lossless and hierarchical JPEG, and JPEG-LS, which libjpeg does not read.
_UNREAD = (0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7)
_RESTARTS = range(0xD0, 0xD8)
#: A marker that ends a scan's data, or a restart marker inside it.
_MARKER = re.compile(rb"\xff[^\x00\xff]")
#: Each scan is a pass through all pixels, even if it has no data. Encoders write about ten.
_MAX_SCANS = 100
#: Segments of a file: tables and metadata. A segment has up to 64 KiB, and cameras write a few dozen.
_MAX_SEGMENTS = 10_000
#: Rows that are compared at a time, to save memory.
_ROWS = 1024
#: The largest share of missing pixels with which a picture is accepted.
_MAX_LOST = 0.02
#: The same for a progressive file, whose last scan has only the finest details.
_MAX_LOST_DETAILS = 0.2
_NOISE = np.random.default_rng(0).integers(1, 255, 1 << 16, dtype=np.uint8)
#: Bytes in place of lost ones, without 255, which would begin a marker. Their first bits differ, so that at least one
#: of them differs from the lost bytes.
_FILLERS = (_NOISE.tobytes(), (255 - _NOISE).tobytes())


@dataclass
class _Structure:
    """The content of a file's markers."""

    height: int = 0
    width: int = 0
    is_progressive: bool = False
    #: Horizontal and vertical sampling factors by component.
    components: dict[int, tuple[int, int]] = field(default_factory=dict)
    #: Blocks between restarts; 0 if there are no restarts.
    interval: int = 0
    #: Where the data of the last scan ends.
    end: int = 0
    has_end: bool = False
    #: The share of a scan's blocks that are missing because their restart intervals are.
    missing_share: float = 0.0
    #: By component, the bits of each coefficient that no scan has had yet. Without an entry, all are missing.
    missing_bits: dict[int, list[int]] = field(default_factory=dict)

    @property
    def block_height(self) -> int:
        return 8 * max(vertical for _, vertical in self.components.values())

    @property
    def has_all_scans(self) -> bool:
        return all(not any(self.missing_bits.get(name, [1])) for name in self.components)


def open_jpeg(data: bytes) -> Source:
    """Read the header of a JPEG file; raise ImageDecodeError or ValueError if its structure is damaged."""
    structure = _read(data)
    if not structure.end:
        raise ValueError("no scan")
    if not structure.has_end and not structure.has_all_scans:
        raise ImageDecodeError("The image is truncated or damaged.")
    whole = data if structure.has_end else data[: structure.end] + b"\xff\xd9"
    image = opened(JpegImageFile, BytesIO(whole))

    def load(target: tuple[int, int]) -> Loaded:
        # JPEG can decode at 1/2, 1/4 or 1/8; at least a factor of 2 is left to the better filter.
        size = (2 * target[0], 2 * target[1])
        image.draft(None, size)
        result = loaded(image)
        if not structure.has_end or structure.missing_share or _ends_grey(image):
            result.warning = _look_for_losses(image, data, structure, size)
        return result

    return Source(size=image.size, load=load)


def _read(data: bytes) -> _Structure:
    structure, position, segments, scans = _Structure(), 2, 0, 0
    while (position := data.find(b"\xff", position)) >= 0:
        while position < len(data) and data[position] == 0xFF:
            position += 1
        marker = data[position] if position < len(data) else 0
        position += 1
        if marker == _END:
            structure.has_end = structure.end > 0
            return structure
        if marker in (0x00, 0x01, *_RESTARTS):
            continue
        length = int.from_bytes(data[position : position + 2])
        body = data[position + 2 : position + length]
        if length < 2 or len(body) < length - 2:
            return structure
        position += length
        segments, scans = segments + 1, scans + (marker == _START_OF_SCAN)
        if segments > _MAX_SEGMENTS or scans > _MAX_SCANS:
            raise ImageDecodeError(
                f"The image has more than {_MAX_SCANS} scans or {_MAX_SEGMENTS:,} segments: reading takes too long."
            )
        if marker == _START_OF_SCAN:
            position = _read_scan(structure, data, body, position)
        elif marker == _RESTART_INTERVAL and len(body) == 2:
            structure.interval = int.from_bytes(body)
        elif marker in (*_SEQUENTIAL, *_PROGRESSIVE, *_UNREAD):
            _read_frame(structure, marker, body)
    return structure


def _read_frame(structure: _Structure, marker: int, body: bytes) -> None:
    if marker in _UNREAD or body[0] != 8:
        raise ImageFormatError(
            "The image is a lossless JPEG or has more than 8 bits per sample, which nst does not support."
        )
    structure.height, structure.width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
    structure.is_progressive = marker in _PROGRESSIVE
    specs = [body[i : i + 3] for i in range(6, 6 + 3 * body[5], 3)]
    structure.components = {spec[0]: (max(1, spec[1] >> 4), max(1, spec[1] & 15)) for spec in specs}


def _read_scan(structure: _Structure, data: bytes, body: bytes, start: int) -> int:
    """Read a scan whose data starts at a position, and return the end of the data."""
    names = [body[i] for i in range(1, 1 + 2 * body[0], 2)]
    first, last, bits = body[-3], body[-2], body[-1] & 15
    for name in names:
        missing = structure.missing_bits.setdefault(name, [1] * 64)
        for coefficient in range(first, min(last, 63) + 1) if structure.is_progressive else range(64):
            missing[coefficient] = bits if structure.is_progressive else 0
    restarts, end = 0, len(data)
    for match in _MARKER.finditer(data, start):
        marker = data[match.start() + 1]
        if marker not in _RESTARTS:
            end = match.start()
            break
        if structure.interval and marker != _RESTARTS[restarts % 8]:
            raise ImageDecodeError("The image is damaged: one of its restart markers is not in its place.")
        restarts += 1
    # A single byte 255 at the end may be the first half of one, or of a marker.
    structure.end = len(data[:end].rstrip(b"\xff")) if end == len(data) else end
    if structure.interval and structure.components:
        needed = -(-_blocks(structure, names) // structure.interval)
        structure.missing_share = max(structure.missing_share, 1 - (restarts + 1) / max(1, needed))
    return end


def _blocks(structure: _Structure, names: list[int]) -> int:
    """Return the number of blocks of a scan; a block has all components, unless the scan has only one."""
    widest, highest = (max(factors) for factors in zip(*structure.components.values(), strict=True))
    across, down = (widest, highest)
    if len(names) == 1:
        own = structure.components.get(names[0], (1, 1))
        across, down = widest / own[0], highest / own[1]
    return int(-(-structure.width // (8 * across)) * -(-structure.height // (8 * down)))


def _ends_grey(image: Image.Image) -> bool:
    """Return whether the last pixels are the grey with which libjpeg fills missing ones."""
    corner = np.asarray(image.crop((image.width - 2, image.height - 2, image.width, image.height)))
    return bool((abs(corner.astype(int) - 128) <= 1).all())


def _look_for_losses(image: ImageFile, data: bytes, structure: _Structure, size: tuple[int, int]) -> str | None:
    """Return a warning about missing pixels, or None; raise ImageDecodeError if many are missing."""
    lost = structure.missing_share
    for filler in _FILLERS:
        other = opened(JpegImageFile, BytesIO(data[: structure.end] + filler + b"\xff\xd9"))
        other.draft(None, size)
        other.load()
        lost = max(lost, _share_after_difference(image, other, structure))
    most = _MAX_LOST_DETAILS if structure.is_progressive else _MAX_LOST
    if lost > most:
        raise ImageDecodeError("The image is truncated or damaged.")
    return "The end of the file is missing, and a few of the last pixels or details with it." if lost else None


def _share_after_difference(image: Image.Image, other: Image.Image, structure: _Structure) -> float:
    """Return the share of an image after the first block in which it differs from another one."""
    block = max(1, round(structure.block_height * image.height / max(1, structure.height)))
    for top in range(0, image.height, _ROWS):
        box = (0, top, image.width, min(image.height, top + _ROWS))
        differs = np.asarray(image.crop(box)) != np.asarray(other.crop(box))
        differs = differs.reshape(box[3] - top, image.width, -1).any(axis=2)
        if differs.any():
            first = int(differs.any(axis=1).argmax())
            left = int(differs[first : first + block].any(axis=0).argmax())
            below = image.height - top - first
            lost = max(0, below - block) * image.width + min(below, block) * (image.width - left)
            return lost / (image.width * image.height)
    return 0.0
