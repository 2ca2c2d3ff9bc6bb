"""Fixtures for the tests of training."""

from collections.abc import Iterator

import pytest

from nst_core.nets.loss_network import LossNetwork, load_loss_network
from tests.unit.nst_core.training.kit import Trainers


@pytest.fixture(scope="session")
def network() -> LossNetwork:
    """A shallow loss network with trained weights."""
    return load_loss_network(["relu1_2", "relu2_1"])


@pytest.fixture
def trainers(network: LossNetwork) -> Iterator[Trainers]:
    """Makes trainers and closes them."""
    trainers = Trainers(network)
    yield trainers
    for trainer in trainers.made:
        trainer.close()
