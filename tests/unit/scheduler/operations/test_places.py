"""Which installation a command is about."""

from pathlib import Path

import pytest

from scheduler.cli.session import DEFAULT_HOME, Session
from scheduler.operations.places import home_of


def test_a_home_that_is_named_is_meant_although_the_environment_has_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NST_DATABASE_URL", "sqlite:///other.db")
    home = home_of(Session(home=tmp_path), unless="NST_DATABASE_URL")
    assert home is not None
    assert home.folder == tmp_path


def test_the_home_of_the_user_is_meant_unless_the_environment_has_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NST_DATABASE_URL", raising=False)
    session = Session(home=DEFAULT_HOME)
    assert home_of(session, unless="NST_DATABASE_URL") is None, "there is none"
    (tmp_path / ".nst").mkdir()
    home = home_of(session, unless="NST_DATABASE_URL")
    assert home is not None
    assert home.folder == tmp_path / ".nst"
    monkeypatch.setenv("NST_DATABASE_URL", "sqlite:///other.db")
    assert home_of(session, unless="NST_DATABASE_URL") is None
