"""The photos that a training holds out: it never sees them, and its style is measured on them at the end.

They are chosen once, before the first step, among photos that can be used. Each checkpoint has their marks, so that a
run holds out the same photos on every worker, even if other photos come or go.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from hashlib import sha256
from itertools import islice

import numpy as np

from nst_core.errors import ConfigError, ImageError
from nst_core.training.config import TrainConfig
from nst_core.training.photos import decode_photo, none_usable, some_reasons
from nst_core.training.sources import PhotoSource

#: The key of the marks in the origin of a checkpoint.
HELD_OUT = "held_out"


def choose_held_out(
    source: PhotoSource, count: int, *, config: TrainConfig, on_photo: Callable[[], object] = lambda: None
) -> list[str]:
    """Return the marks of `count` photos that can be used, which the seed of the config selects.

    Another photo takes the place of one that cannot be used. At least as many usable photos are left to train on as are
    held out: of few photos, fewer are held out. `on_photo` is called before each photo is read, and may raise.

    Raises ConfigError if there is no usable photo to hold out and another one to train on, and what `source` raises if
    no photo can be read.
    """
    if count <= 0:
        return []
    skipped: dict[str, str] = {}
    usable = list(islice(_usable(source, config, skipped, on_photo), 2 * count))
    if not usable:
        raise none_usable(len(source.names), skipped)
    if len(usable) == 1:
        others = f" Others cannot be used ({some_reasons(skipped)})." if skipped else ""
        raise ConfigError(
            f"Only 1 photo can be used, and a training that holds out photos needs at least 2: "
            f"add photos, or set held_out to 0.{others}"
        )
    return sorted(map(_mark, usable[: min(count, len(usable) // 2)]))


def few_held_out(count: int, wanted: int) -> str | None:
    """Return a warning if fewer photos are held out than were asked for, or None."""
    if count >= wanted:
        return None
    return f"The training holds out only {count} of the {wanted} photos that were asked for: too few can be used."


def split_names(names: Sequence[str], held_out: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the names of photos to train on, and of those with a mark in `held_out`, in their order."""
    if not held_out:
        return list(names), []
    marks = set(held_out)
    training: list[str] = []
    held: list[str] = []
    for name in names:
        (held if _mark(name) in marks else training).append(name)
    return training, held


def _usable(
    source: PhotoSource, config: TrainConfig, skipped: dict[str, str], on_photo: Callable[[], object]
) -> Iterator[str]:
    """Yield the names of usable photos in the order of the seed; put the others into `skipped` with the reason."""
    names = source.names
    for place in np.random.default_rng((config.seed, len(names))).permutation(len(names)):
        name = names[place]
        on_photo()
        try:
            decode_photo(source.read(name), size_px=config.size_px, zoom=config.zoom)
        except ImageError as error:
            skipped[name] = error.message
        else:
            yield name


def _mark(name: str) -> str:
    """Return a short text that stands for a name: a checkpoint has no room for a thousand long names."""
    return sha256(name.encode()).hexdigest()[:16]
