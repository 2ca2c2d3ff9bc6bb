"""`nst db`, on a file of SQLite."""

import json
from pathlib import Path

import pytest

from scheduler.cli.exits import ExitCode
from scheduler.store.database import Database
from tests.unit.scheduler.cli.conftest import Run
from tests.unit.scheduler.store.test_schemas import NEWEST, newer_code


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of the database in the environment, which has no file yet."""
    url = f"sqlite:///{tmp_path}/nst.db"
    monkeypatch.setenv("NST_DATABASE_URL", url)
    return url


def test_a_new_database_is_checked_migrated_and_checked_again(nst_here: Run, url: str) -> None:
    empty = f"The database has no tables yet; this version of nst needs the schema {NEWEST}. Run `nst db upgrade`.\n"
    assert nst_here("db", "check") == (ExitCode.FAILED, empty, "")
    assert nst_here("db", "current") == (ExitCode.OK, empty, "")
    assert nst_here("db", "upgrade") == (ExitCode.OK, "", f"The database was migrated from nothing to {NEWEST}.\n")
    newest = f"The database has the newest schema, {NEWEST}.\n"
    assert nst_here("db", "check") == (ExitCode.OK, newest, "")
    assert nst_here("db", "upgrade") == (ExitCode.OK, "", f"{newest.strip()} Nothing was done.\n")


def test_json_has_the_versions(
    nst_here: Run, url: str, sqlite_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nst.db").write_bytes(sqlite_template.read_bytes())
    newer_code(tmp_path, monkeypatch)
    old = {"state": "old", "version": NEWEST, "newest": "0.2.0", "missing": []}
    for command, code in (("check", ExitCode.FAILED), ("current", ExitCode.OK)):
        found = nst_here("db", command, "--json")
        assert (found[0], json.loads(found[1])) == (code, old)
    done = json.loads(nst_here("db", "upgrade", "--json")[1])
    assert done == {"state": "up_to_date", "version": "0.2.0", "newest": "0.2.0", "missing": [], "from": NEWEST}


def test_a_newer_database_is_not_changed(nst_here: Run, url: str, sqlite_template: Path, tmp_path: Path) -> None:
    (tmp_path / "nst.db").write_bytes(sqlite_template.read_bytes())
    database = Database(url)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    code, _, error = nst_here("db", "upgrade")
    assert code == ExitCode.FAILED
    assert "another version of nst: its schema, 9999, is unknown here." in error
    assert nst_here("db", "check")[0] == ExitCode.FAILED


def test_a_home_folder_has_a_database_too(nst: Run, url: str, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    assert nst("db", "upgrade")[0] == ExitCode.OK
    assert (tmp_path / "home" / "nst.db").exists()
    assert not (tmp_path / "nst.db").exists()


def test_a_wrong_address_is_one_sentence(nst_here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NST_DATABASE_URL", "mysql://nst@h/nst")
    code, _, error = nst_here("db", "check")
    assert (code, error.count("\n")) == (ExitCode.FAILED, 1)
    assert "NST_DATABASE_URL names mysql; nst takes SQLite and PostgreSQL. (config_invalid)" in error


@pytest.mark.parametrize("command", ["upgrade", "check", "current"])
def test_without_an_address_and_a_home_folder_nothing_is_made(
    nst_here: Run, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NST_DATABASE_URL", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    code, _, error = nst_here("db", command)
    assert (code, error.count("\n")) == (ExitCode.FAILED, 1)
    assert "Set NST_DATABASE_URL, or name a home folder of `nst up` with --home" in error
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".nst").mkdir()
    assert nst_here("db", "upgrade")[0] == ExitCode.OK
    assert (tmp_path / ".nst" / "nst.db").exists()
