"""Fixtures: the command line with the settings of the environment."""

import pytest

from tests.unit.scheduler.cli.conftest import Run, nst

__all__ = ["nst", "nst_here"]


@pytest.fixture
def nst_here(nst: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command without a home folder."""
    monkeypatch.delenv("NST_HOME")
    return nst
