"""Tests of scheduler.settings; tests/unit/nst_core/test_settings.py has what all settings have in common."""

import pytest
from pydantic import SecretStr, ValidationError

from nst_core.settings import describe
from scheduler.settings import SchedulerSettings


def test_a_forgotten_address_of_the_database_does_not_start_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_DATABASE_URL", "")
    with pytest.raises(ValidationError) as caught:
        SchedulerSettings()
    assert describe(caught.value).startswith("NST_DATABASE_URL is empty")
    assert SchedulerSettings(database_url=SecretStr("sqlite:///nst.db")).port == 8700
