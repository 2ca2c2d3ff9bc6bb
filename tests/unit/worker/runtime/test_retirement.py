"""Tests of worker.runtime.retirement."""

import pytest

from worker.runtime.outcomes import InterruptedWorkError
from worker.runtime.retirement import EX_NOPERM, Retirement


def test_a_worker_retires_once_with_its_exit_code() -> None:
    ends = list[bool]()
    retirement = Retirement(lambda: ends.append(True))
    for _ in range(2):
        with pytest.raises(InterruptedWorkError):
            retirement.retire("this worker cannot use its storage", code=EX_NOPERM)
    assert (retirement.code, ends) == (77, [True])
