"""The home folder of a stack."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from nst_core.errors import ConfigError
from scheduler.local.home import ClientConfig, Home


def test_only_their_owner_can_read_the_secrets(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.locked():
        key, secret = home.api_key(), home.s3_secret()
        home.write_client(ClientConfig(url="http://127.0.0.1:1", api_key=key))
    assert (home.api_key(), home.s3_secret()) == (key, secret)
    for name in ("api_key", "s3_secret", "client.json"):
        assert (home.folder / name).stat().st_mode & 0o777 == 0o600
    assert home.folder.stat().st_mode & 0o777 == 0o700


def test_the_variables_of_the_last_start_are_kept_for_their_owner(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.read_settings() is None
    home.write_settings({"NST_PORT": "8700"})
    assert home.read_settings() == {"NST_PORT": "8700"}
    assert home.settings_file.stat().st_mode & 0o777 == 0o600


def test_the_database_is_for_its_owner_though_the_folder_is_for_all(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    home = Home(tmp_path)
    home.prepare_database()
    with closing(sqlite3.connect(home.database)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE jobs (id TEXT)")
        connection.commit()
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("nst.db", "nst.db-wal", "nst.db-shm"), 0o600)
    home.prepare_database()
    with closing(sqlite3.connect(home.database)) as connection:
        assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)


def test_a_database_that_all_could_read_is_for_its_owner_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    files = [tmp_path / name for name in ("nst.db", "nst.db-wal")]
    for file in files:
        file.touch(0o644)
    home.prepare_database()
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    assert not (tmp_path / "nst.db-shm").exists()


def test_a_home_is_running_while_its_lock_is_held(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert not home.is_running()
    with home.locked():
        assert home.is_running()
    assert not home.is_running()


def test_a_damaged_client_file_is_reported(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.read_client() is None
    home.client_file.write_text("{}")
    with pytest.raises(ConfigError, match=r"client\.json cannot be read"):
        home.read_client()
