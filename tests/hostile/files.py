"""Hostile files in a fixed order. The same seed always gives the same bytes."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.hostile.grown import grown_files
from tests.hostile.mutations import mutated
from tests.hostile.seeds import seeds

_SUFFIXES = ("jpg", "png", "webp", "tif", "bmp", "gif")


@dataclass(frozen=True)
class HostileFile:
    """A file that is sent as a photo or a painting."""

    name: str
    data: bytes


def hostile_files(count: int, *, seed: int, largest: int = 10**6) -> Iterator[HostileFile]:
    """Yield `count` files: first those with false sizes or up to `largest` repetitions, then mutated ones.

    If `count` is less than four times the number of inflated files, an evenly spaced part of those is used, so that all
    files of a small run have a chance.
    """
    grown = list(grown_files(largest=largest))
    step = max(1, -(-4 * len(grown) // max(1, count)))
    chosen = grown[random.Random(seed).randrange(step) :: step][:count]
    for number, file in enumerate(chosen):
        yield HostileFile(_file_name(number, file.name, file.suffix), file.make())
    kinds = seeds()
    for number in range(len(chosen), count):
        # Each file has its own generator, so the number of files does not change them.
        rng = random.Random(f"{seed}/{number}")
        kind = kinds[number % len(kinds)]
        yield HostileFile(_file_name(number, kind.kind, kind.suffix), mutated(kind, kinds, rng))


def _file_name(number: int, kind: str, suffix: str) -> str:
    # With another suffix, the planner of jobs would skip a file.
    return f"{number:06d}-{kind}.{suffix if suffix in _SUFFIXES else f'{suffix}.jpg'}"
