"""Checks of memory: what happens when a GPU has too little, and that it does not grow."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from nst_core.errors import ImageTooLargeError
from nst_core.inference.cuda import CudaStylizer
from nst_core.inference.cuda_card import Card, runner_of
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.stylizer import Pixels, Stylizer
from nst_core.system.memory import resident_bytes
from tests.gpu.ground import CheckFailedError, Ground, NotPossibleError, expect, photo, photos
from tests.gpu.stylizing import probed

#: How much more memory of the host a second turn of the same sizes may take.
_HOST_GROWTH_BYTES = 200 * 2**20
#: The largest map alone takes more for each pixel: 64 channels of float32.
_TOO_FEW_BYTES = 200


def too_little(ground: Ground) -> str:
    """A photo for which a GPU has too little memory is refused, by both engines, and the next one is not."""
    card = _card(ground)
    weights, large, small = ground.styles()[0].weights(), photo(1500, 2000)[None], photo(128, 128)[None]
    limit = large[..., 0].size * _TOO_FEW_BYTES
    stylizers: list[Stylizer] = [
        EagerStylizer.load(weights, device=ground.device),
        CudaStylizer.load(weights, device=ground.device),
    ]
    for stylizer in stylizers:
        expected = stylizer(small)
        with _limited(card, ground.device, limit):
            try:
                stylizer(large)
            except ImageTooLargeError:
                pass
            else:
                raise CheckFailedError(f"{stylizer.choice}: {limit >> 20} MiB were enough")
            expect(np.array_equal(stylizer(small), expected), f"{stylizer.choice}: a small photo differs afterwards")
        expect(stylizer(large).shape == large.shape, f"{stylizer.choice}: the photo is still refused")
    return f"{limit >> 20} MiB were too little for 2000 x 1500"


def fewer_at_once(ground: Ground) -> str:
    """If photos do not fit side by side, fewer run at the same time from then on, with the same bytes."""
    card = _card(ground)
    stylizer = CudaStylizer.load(ground.styles()[0].weights(), device=ground.device)
    most = card.most_lanes
    side = int((card.filling_pixels / most) ** 0.5)
    batch = photos(2 * most, side, side)
    expected = stylizer(batch)
    needed = _needed_bytes(card, ground.device, stylizer, batch[:1])
    try:
        with _limited(card, ground.device, 2 * needed):
            expect(np.array_equal(stylizer(batch), expected), "pictures differ")
            fewer = stylizer.max_batch
    finally:
        card.most_lanes = most
    expect(1 <= fewer < most, f"{fewer} photos at the same time fit into the memory of two")
    return f"{fewer} of {most} at the same time"


def many_sizes(ground: Ground) -> str:
    """Memory does not grow over hundreds of sizes."""
    random = np.random.default_rng(0)
    least, most = ground.pick(64, 16), ground.pick(640, 40)
    sizes = [random.integers(least, most, 2).tolist() for _ in range(ground.pick(300, 4))]
    stylizer = CudaStylizer.load(ground.styles()[0].weights(), device=ground.device, precision=probed(ground.device))
    used, host = [], []
    for _ in range(2):
        for height, width in sizes:
            stylizer(photo(height, width)[None])
        host.append(resident_bytes())
        used.append(_used_bytes(ground))
    growth = host[1] - host[0]
    expect(growth <= _HOST_GROWTH_BYTES, f"the host's memory grew by {growth >> 20} MiB in the second turn")
    expect(used[1] - used[0] <= 2**20, f"{(used[1] - used[0]) >> 10} KiB of the GPU were not freed")
    return f"{len(sizes)} sizes twice; host {growth >> 20:+d} MiB in the second turn"


def _used_bytes(ground: Ground) -> int:
    """Return the memory of the GPU in use without graphs, after a check of what torch keeps; 0 on a CPU."""
    card = runner_of(ground.device)
    if not isinstance(card, Card):
        return 0
    total = torch.cuda.get_device_properties(ground.device).total_memory
    reserved = torch.cuda.memory_reserved(ground.device)
    expect(reserved <= total // 2, f"{reserved >> 20} MiB of {total >> 20} MiB are reserved for small photos")
    card.release()
    return torch.cuda.memory_allocated(ground.device)


def _card(ground: Ground) -> Card:
    card = runner_of(ground.device)
    if not isinstance(card, Card):
        raise NotPossibleError("the memory of a CPU cannot be limited")
    return card


def _needed_bytes(card: Card, device: torch.device, stylizer: Stylizer, batch: Pixels) -> int:
    """Return how much memory a call reserves at most."""
    card.release()
    before = torch.cuda.memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    stylizer(batch)
    return torch.cuda.max_memory_reserved(device) - before


@contextmanager
def _limited(card: Card, device: torch.device, more_bytes: int) -> Iterator[None]:
    """Let torch reserve so many more bytes of the GPU than it has now."""
    card.release()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + more_bytes) / total, device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        card.release()
