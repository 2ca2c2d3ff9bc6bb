"""Mutations of valid files: bytes, numbers, pieces. Each depends only on a random generator."""

import random
import struct
from collections.abc import Callable

from tests.hostile.seeds import Seed, chunk, riff, split_boxes, split_jpeg, split_png, split_riff

Change = Callable[[bytes, random.Random], bytes]
#: Boundary values of fields.
_EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
#: The most bytes of a mutated file.
MAX_BYTES = 4 * 2**20


def mutated(seed: Seed, others: tuple[Seed, ...], rng: random.Random) -> bytes:
    """Return a seed's file with one to four changes, mostly near its beginning, where the headers are."""
    data = seed.data
    if rng.random() < 0.35:
        data = _rearranged(seed, data, rng)
    if rng.random() < 0.1:
        other = rng.choice(others).data
        data = data[: rng.randrange(1, len(data))] + other[rng.randrange(len(other)) :]
    for _ in range(rng.randint(1, 4)):
        data = rng.choice(_CHANGES)(data, rng)[:MAX_BYTES] or b"\0"
    if seed.suffix == "png" and rng.random() < 0.7:
        data = _with_checksums(data)
    return data


def _place(data: bytes, rng: random.Random) -> int:
    length = len(data) if rng.random() < 0.4 else min(len(data), 400)
    return rng.randrange(length)


def _flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _set(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 2, 8))):
        changed[_place(data, rng)] = rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))
    return bytes(changed)


def _number(data: bytes, rng: random.Random) -> bytes:
    width = rng.choice((2, 4, 4, 8))
    packed = struct.pack(rng.choice("<>") + {2: "H", 4: "I", 8: "Q"}[width], rng.choice(_EDGES) % 2 ** (8 * width))
    place = _place(data, rng)
    return data[:place] + packed + data[place + width :]


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(1, len(data) + 1)]


def _remove(data: bytes, rng: random.Random) -> bytes:
    place = _place(data, rng)
    return data[:place] + data[place + rng.choice((1, 2, 4, 16, 200)) :]


def _insert(data: bytes, rng: random.Random) -> bytes:
    place = _place(data, rng)
    return data[:place] + rng.randbytes(rng.choice((1, 2, 4, 16, 200))) + data[place:]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start = _place(data, rng)
    piece = data[start : start + rng.choice((1, 4, 12, 60, 400))]
    return data[:start] + piece * rng.choice((2, 3, 10, 1000)) + data[start:]


def _append(data: bytes, rng: random.Random) -> bytes:
    return data + rng.choice((b"\0", b"\xff", b"\n", data, rng.randbytes(64))) * rng.choice((1, 10, 1000))


def _prepend(data: bytes, rng: random.Random) -> bytes:
    return rng.choice((b"\n", b"\xef\xbb\xbf", b"\0", b"<!---->", b" ")) * rng.choice((1, 3, 500)) + data


_CHANGES: tuple[Change, ...] = (
    _flip,
    _flip,
    _set,
    _number,
    _number,
    _cut,
    _remove,
    _insert,
    _repeat,
    _append,
    _prepend,
)


def _rearranged(seed: Seed, data: bytes, rng: random.Random) -> bytes:
    """Return a file whose pieces are reordered, left out, or repeated."""
    split, joined = {
        "jpg": (split_jpeg, b"".join),
        "png": (split_png, b"".join),
        "webp": (split_riff, lambda parts: riff(*parts)),
        "avif": (split_boxes, b"".join),
    }.get(seed.suffix, (None, b"".join))
    if split is None or not seed.kind.startswith(("jpeg", "png", "webp", "avif")):
        return data
    parts = split(data)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(parts))
        match rng.randrange(4):
            case 0:
                parts.insert(rng.randrange(len(parts) + 1), parts[place])
            case 1 if len(parts) > 2:
                del parts[place]
            case 2:
                other = rng.randrange(len(parts))
                parts[place], parts[other] = parts[other], parts[place]
            case _:
                parts[place : place + 1] = [parts[place]] * rng.choice((2, 5, 50))
    return joined(parts)


def _with_checksums(data: bytes) -> bytes:
    """Return a PNG whose chunks have the right checksums, as far as they can be parsed."""
    parts, place = [data[:8]], 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        if place + 12 + length > len(data):
            break
        parts.append(chunk(data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return b"".join([*parts, data[place:]])
