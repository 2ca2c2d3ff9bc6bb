"""Databases that cannot be used."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from nst_core.errors import ConfigError
from scheduler.local.servers import HOST, free_port
from scheduler.store.database import Database
from scheduler.store.errors import DatabaseUnavailableError


def test_database_that_does_not_answer_is_reported_as_unreachable(tmp_path: Path) -> None:
    database = Database(f"postgresql://nst@{HOST}:{free_port()}/nst")
    with pytest.raises(DatabaseUnavailableError), database.read():
        pass
    database.close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/nst"])
def test_address_of_an_unsupported_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Database(SecretStr(url).get_secret_value())
