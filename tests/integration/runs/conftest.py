"""Fixtures of the tests of runs."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from tests.integration.conftest import TENANT, Rig, register_shipped
from tests.integration.runs.api_kit import connect
from tests.integration.runs.kit import RunRig


@pytest.fixture
def runs(rig: Rig) -> RunRig:
    """The control loops of runs, beside the styles of the package."""
    register_shipped(rig)
    return RunRig(rig)


@pytest.fixture
def client(runs: RunRig) -> Iterator[TestClient]:
    """A client of the tenant to which the runs belong."""
    with connect(runs.rig, TENANT) as client:
        yield client


@pytest.fixture
def stranger(runs: RunRig) -> Iterator[TestClient]:
    """A client of another tenant."""
    with connect(runs.rig, "stranger") as client:
        yield client
