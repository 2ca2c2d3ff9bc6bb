"""Fixtures for the tests of nst_core."""

from collections.abc import Iterator

import pytest


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Limit torch to one thread, which is fastest for tiny tensors and leaves the other cores free."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
