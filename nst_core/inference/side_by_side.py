"""Small photos, two of them at a time.

Half of the threads take less than twice as long for a small photo as all of them, since threads wait for each other
less often. And two photos keep all cores busy while one of them has no part to share, and while another program has a
core.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nst_core.inference.stylizer import EngineChoice, Pixels, is_flat
from nst_core.nets import native

#: Photos up to this size are small. On two cores, two of 512 x 384 pixels at a time took 0.96 of the time of one after
#: the other with both cores, two of 256 x 192 pixels 0.90, and two of a megapixel took as long
#: as one after the other.
SMALL_PIXELS = 2**20


def is_small(photo: Pixels, choice: EngineChoice) -> bool:
    """Return whether an engine takes an H x W x 3 photo beside another one.

    Only the results of `native` do not depend on the number of threads. It leaves flat photos to the reference.
    """
    height, width = photo.shape[:2]
    return choice.engine == "native" and height * width <= SMALL_PIXELS and not is_flat(photo)


@contextmanager
def side(by_side: bool) -> Iterator[None]:
    """Let the kernels that this thread calls in the `with` block use half of the threads, if it is for one of two."""
    threads = torch.get_num_threads()
    with native.threads((threads + 1) // 2 if by_side else threads):
        yield
