"""The commands nst backup and nst restore."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scheduler.cli.exits import ExitCode
from scheduler.local.home import Home
from tests.unit.scheduler.cli.conftest import Run


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path) -> Home:
    """The home of the command line, with one object."""
    home = Home(tmp_path / "home")
    with home.locked():
        home.database.write_bytes(sqlite_template.read_bytes())
        (home.s3 / "nst").mkdir()
        (home.s3 / "nst" / "a.jpg").write_bytes(b"photo")
        os.utime(home.s3 / "nst" / "a.jpg", (1000, 1000))
    return home


def test_a_home_goes_to_a_file_and_back(home: Home, tmp_path: Path, nst: Run) -> None:
    file, new = tmp_path / "nst.tar", tmp_path / "new"
    code, out, err = nst("backup", str(file))
    assert (code, out) == (ExitCode.OK, "")
    assert re.fullmatch(rf"Backed up the database and 1 object \(\d\.\d MB\) to {file}\. It contains keys: .*\n", err)
    assert file.stat().st_mode & 0o777 == 0o600
    code, out, err = nst("restore", str(file), "--home", str(new))
    assert (code, out) == (ExitCode.OK, "")
    assert re.fullmatch(rf"Restored the database and 1 object to {new}, from a backup of \d\S+Z by nst \S+\.\n", err)
    assert (new / "s3" / "nst" / "a.jpg").read_bytes() == b"photo"


def test_a_folder_gets_a_file_named_by_the_time(home: Home, tmp_path: Path, nst: Run) -> None:
    (tmp_path / "backups").mkdir()
    assert nst("backup", str(tmp_path / "backups"))[0] == ExitCode.OK
    [file] = (tmp_path / "backups").iterdir()
    assert re.fullmatch(r"nst-\d{8}-\d{6}\.tar", file.name)


def test_a_pipe_carries_a_home_to_another_place(home: Home, tmp_path: Path) -> None:
    nst = [sys.executable, "-m", "scheduler.cli"]
    root = Path(__file__).parents[5]
    env = os.environ | {"NST_HOME": str(home.folder)}
    data = subprocess.run([*nst, "backup", "-"], cwd=root, env=env, capture_output=True, check=True).stdout
    command = [*nst, "restore", "-", "--home", str(tmp_path / "new")]
    subprocess.run(command, cwd=root, input=data, capture_output=True, check=True)
    assert (tmp_path / "new" / "s3" / "nst" / "a.jpg").read_bytes() == b"photo"


def test_no_file_is_replaced_and_none_is_left_half_written(home: Home, tmp_path: Path, nst: Run) -> None:
    file = tmp_path / "nst.tar"
    file.write_bytes(b"older backup")
    code, _, err = nst("backup", str(file))
    assert (code, err) == (ExitCode.LOCAL, f"nst: error: {file} exists already. (backup_failed)\n")
    assert file.read_bytes() == b"older backup"
    home.database.write_bytes(b"")
    code, _, err = nst("backup", str(tmp_path / "other.tar"))
    assert (code, "(backup_failed)" in err) == (ExitCode.LOCAL, True)
    assert {path.name for path in tmp_path.iterdir()} == {"home", "nst.tar"}


def test_what_cannot_be_restored_is_one_line(tmp_path: Path, nst: Run) -> None:
    (tmp_path / "text").write_text("text")
    code, _, err = nst("restore", str(tmp_path / "text"))
    assert code == ExitCode.LOCAL
    assert err.startswith("nst: error: It is not a backup of nst")
    assert err.endswith("(archive_invalid)\n")
    assert err.count("\n") == 1
    code, _, err = nst("restore", str(tmp_path / "missing"))
    assert (code, err) == (ExitCode.LOCAL, f"nst: error: {tmp_path}/missing: No such file or directory (ENOENT)\n")
    assert not (tmp_path / "home").exists()
