"""A training survives the death of processes: it has the steps and weights of a training without faults."""

import random
from collections.abc import Iterator

import pytest

from tests.faults.training import Outcome, RunDisturber, TrainingFaults, check_same, disturbances, training_stack


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingFaults]:
    with training_stack(tmp_path_factory.mktemp("home")) as faults:
        yield faults


@pytest.fixture(scope="module")
def undisturbed(faults: TrainingFaults) -> Outcome:
    return faults.run()


def test_worker_killed_three_times_and_redis_flushed(faults: TrainingFaults, undisturbed: Outcome) -> None:
    disturber = RunDisturber(disturbances(faults.stack, kills=3, rng=random.Random(2026)))
    disturbed = faults.run(on_poll=disturber)
    assert not disturber.waiting, "the run ended before all went wrong"
    assert disturbed.run.attempt > disturbed.run.segments
    check_same(disturbed, undisturbed)
