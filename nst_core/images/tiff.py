"""Reads TIFF files: with Pillow the kinds that it reads well, and here other files with 8 or 16 bits per sample."""

import struct
import zlib
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from nst_core.errors import ImageFormatError
from nst_core.images import tiff_tags as tags
from nst_core.images.picture import Limits
from nst_core.images.source import Loaded, Source, image_turn, loaded, opened, to_8_bit, turn_of, unless_opaque
from nst_core.images.tiff_tags import Directory

Samples = npt.NDArray[np.unsignedinteger]
#: The colours of each kind of picture (PhotometricInterpretation) that is read here.
_COLOURS = {0: "L", 1: "L", 2: "RGB", 5: "CMYK"}
_WHITE_IS_0 = 0
_NONE, _DEFLATE = 1, (8, 32946)
#: Compressions that work on any bytes: also LZW, PackBits, LZMA and ZSTD.
_COMPRESSIONS = (_NONE, *_DEFLATE, 5, 32773, 34925, 50000)
_MULTIPLIED, _INDEPENDENT = 1, 2
#: Colours, opacity and the spot colours of printers; a damaged number would take any amount of memory.
_MOST_SAMPLES = 64
#: What a strip or tile takes while it is unpacked, times its own size. It may be as large as the picture, or larger.
_BLOCK_COPIES = 4


def open_tiff(data: bytes, limits: Limits) -> Source:
    """Read the directories of a TIFF file, and choose its first picture that is not a thumbnail of another."""
    found = tags.directories(data)
    pages = [number for number, directory in enumerate(found) if directory.is_page]
    number = pages[0] if pages else 0
    directory = found[number]
    limits.target(directory.size)
    _check_samples(directory)
    frames, block = max(1, len(pages)), tags.block_bytes(directory)
    if _is_read_here(directory):
        return Source(
            size=directory.size,
            load=lambda _: _load(data, directory),
            frames=frames,
            frame="page",
            more_bytes=tags.samples_bytes(directory) + _BLOCK_COPIES * block,
        )
    image = opened(TiffImageFile, BytesIO(data))
    image.seek(number)
    # Viewers take no orientation out of XMP, and Pillow would.
    image.info.pop("xmp", None)

    def load(_: tuple[int, int]) -> Loaded:
        return _load_grey16(image) if image.mode.startswith("I;16") else loaded(image)

    return Source(size=image.size, load=load, frames=frames, frame="page", more_bytes=block)


def _check_samples(directory: Directory) -> None:
    """Raise ImageFormatError for samples whose range TIFF does not define, and for too many of them."""
    if (count := directory.first(tags.SAMPLES, 1)) > _MOST_SAMPLES:
        raise ImageFormatError(f"The image has {count:,} samples a pixel; supported are at most {_MOST_SAMPLES}.")
    bits = max(directory.values.get(tags.BITS, (1,)))
    names = {2: "signed numbers", 3: "floating-point numbers", 5: "complex numbers", 6: "complex numbers"}
    for kind in directory.values.get(tags.SAMPLE_FORMAT, ()):
        if kind in names:
            raise ImageFormatError(
                f"The image has samples that are {names[kind]}; supported are 8 and 16 bits a sample."
            )
    if bits > 16:
        raise ImageFormatError(f"The image has samples of {bits} bits; supported are 8 and 16 bits a sample.")


def _is_read_here(directory: Directory) -> bool:
    """Return whether `_load` must read a kind of picture, because Pillow does not read it or reads it wrongly."""
    photometric = directory.first(tags.PHOTOMETRIC, -1)
    bits = set(directory.values.get(tags.BITS, (1,)))
    samples = directory.first(tags.SAMPLES, 1)
    if photometric not in _COLOURS or bits not in ({8}, {16}):
        return False
    if directory.first(tags.COMPRESSION, _NONE) not in _COMPRESSIONS or directory.first(tags.PREDICTOR, 1) > 2:
        return False
    colours = len(_COLOURS[photometric])
    if samples < colours:
        return False
    return samples > 1 if bits == {16} or colours == 1 else samples > 4


def _load_grey16(image: ImageFile) -> Loaded:
    # Pillow's own conversion to 8 bits clips at 255 instead of scaling.
    image.load()
    tag: dict[int, object] = getattr(image, "tag_v2", {})
    grey = to_8_bit(np.asarray(image), 4095 if tag.get(ExifTags.Base.BitsPerSample) == (12,) else 65535)
    if tag.get(ExifTags.Base.PhotometricInterpretation) == _WHITE_IS_0:
        grey = 255 - grey
    return Loaded(colour=Image.fromarray(grey), icc=image.info.get("icc_profile"), turn=image_turn(image))


def _load(data: bytes, directory: Directory) -> Loaded:
    photometric = directory.first(tags.PHOTOMETRIC, -1)
    mode = _COLOURS[photometric]
    samples = _samples(data, directory)
    top = 65535 if samples.dtype.itemsize == 2 else 255
    alpha = None
    for number, kind in enumerate(directory.values.get(tags.EXTRA_SAMPLES, ()), start=len(mode)):
        if kind in (_MULTIPLIED, _INDEPENDENT) and number < samples.shape[2]:
            alpha = samples[..., number]
            break
    planes = []
    for number in range(len(mode)):
        plane = samples[..., number]
        if alpha is not None and kind == _MULTIPLIED:
            plane = _divided(plane, alpha, top)
        grey = to_8_bit(plane, top)
        planes.append(Image.fromarray(255 - grey if photometric == _WHITE_IS_0 else grey))
    return Loaded(
        colour=planes[0] if mode == "L" else Image.merge(mode, planes),
        alpha=None if alpha is None else unless_opaque(Image.fromarray(to_8_bit(alpha, top))),
        icc=directory.profile,
        turn=turn_of(directory.first(tags.ORIENTATION, 1)),
    )


def _divided(plane: Samples, alpha: Samples, top: int) -> Samples:
    """Return colours that were multiplied by the opacity, divided by it again."""
    result = (plane.astype(np.uint64) * top + alpha // 2) // np.maximum(alpha, 1)
    divided: Samples = np.minimum(result, top).astype(plane.dtype)
    return divided


def _samples(data: bytes, directory: Directory) -> Samples:
    """Return all samples of a picture as H x W x samples, 8 or 16 bits."""
    width, height = directory.size
    count = directory.first(tags.SAMPLES, 1)
    is_planar = directory.first(tags.PLANAR, 1) == 2
    itemsize = directory.first(tags.BITS, 8) // 8
    stored = np.dtype(f"{directory.order}u{itemsize}")
    result = np.zeros((height, width, count), f"u{itemsize}")
    depth = 1 if is_planar else count
    for plane, left, top, across, rows, offset, size in tags.blocks(directory):
        row_bytes = across * depth * itemsize
        packed = data[offset : offset + size]
        block = np.frombuffer(_unpacked(packed, directory, row_bytes, rows), stored).reshape(rows, across, depth)
        block = block.astype(result.dtype)
        if directory.first(tags.PREDICTOR, 1) == 2:
            block = np.cumsum(block, axis=1, dtype=result.dtype)  # each sample is the difference to its left neighbour
        seen = block[: height - top, : width - left]
        target = result[top : top + seen.shape[0], left : left + seen.shape[1]]
        target[..., plane if is_planar else slice(None)] = seen[..., 0] if is_planar else seen
    return result


def _unpacked(packed: bytes, directory: Directory, row_bytes: int, rows: int) -> bytes:
    """Return the bytes of a strip or tile; raise ValueError if there are too few."""
    size = row_bytes * rows
    compression = directory.first(tags.COMPRESSION, _NONE)
    if compression == _NONE:
        unpacked = packed[:size]
    elif compression in _DEFLATE:
        unpacked = zlib.decompressobj().decompress(packed, size)
    else:
        unpacked = _by_libtiff(packed, directory, row_bytes, rows)
    if len(unpacked) < size:
        raise ValueError("a block has too few bytes")
    return unpacked


def _by_libtiff(packed: bytes, directory: Directory, row_bytes: int, rows: int) -> bytes:
    """Unpack one strip with libtiff, presented as a grey picture whose pixels are the strip's bytes."""
    values = {
        tags.WIDTH: row_bytes,
        tags.HEIGHT: rows,
        tags.BITS: 8,
        tags.COMPRESSION: directory.first(tags.COMPRESSION, _NONE),
        tags.PHOTOMETRIC: 1,
        tags.FILL_ORDER: directory.first(tags.FILL_ORDER, 1),
        tags.STRIP_OFFSETS: 8,
        tags.SAMPLES: 1,
        tags.STRIP_ROWS: rows,
        tags.STRIP_BYTES: len(packed),
    }
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in values.items())
    end = struct.pack("<H", len(values)) + entries + struct.pack("<I", 0)
    file = b"II\x2a\0" + struct.pack("<I", 8 + len(packed)) + packed + end
    return TiffImageFile(BytesIO(file)).tobytes()
