"""The commands nst backup and nst restore."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from scheduler.cli.exits import ExitCode
from scheduler.local.backup import Backup, HomeBackup, _scratch
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


CUT_OFF = "Nobody reads standard output any longer: the backup is not complete. (backup_failed)"


@pytest.mark.parametrize(
    ("to", "megabytes", "said"),
    [
        ("| head -c 10 > /dev/null", 4, CUT_OFF),  # less fits into the pipe before its reader ends
        ("> /dev/full", 4, "No space left on device (ENOSPC)"),
        ("> /dev/full", 0, "No space left on device (ENOSPC)"),
    ],
)
def test_a_backup_that_is_cut_off_is_one_line_and_no_success(
    home: Home, tmp_path: Path, to: str, megabytes: int, said: str
) -> None:
    (home.s3 / "nst" / "b.jpg").write_bytes(bytes(megabytes * 2**20))
    command = f'{{ "{sys.executable}" -m scheduler.cli backup - 2> "$ERRORS"; echo $? > "$CODE"; }} {to}'
    files = {"ERRORS": str(tmp_path / "errors"), "CODE": str(tmp_path / "code")}
    subprocess.run(
        ["bash", "-c", command],
        cwd=Path(__file__).parents[5],
        env=os.environ | {"NST_HOME": str(home.folder)} | files,
        stderr=subprocess.DEVNULL,
        timeout=60,
    )
    assert (tmp_path / "errors").read_text() == f"nst: error: {said}\n"
    assert int((tmp_path / "code").read_text()) == ExitCode.LOCAL


def test_no_file_is_replaced_and_none_is_left_half_written(home: Home, tmp_path: Path, nst: Run) -> None:
    file = tmp_path / "nst.tar"
    file.write_bytes(b"older backup")
    code, _, err = nst("backup", str(file))
    assert (code, err) == (ExitCode.LOCAL, f"nst: error: {file} exists already. (backup_failed)\n")
    assert file.read_bytes() == b"older backup"
    code, _, err = nst("backup", str(tmp_path / "missing" / "nst.tar"))
    assert (code, err) == (ExitCode.LOCAL, f"nst: error: {tmp_path}/missing: No such file or directory (ENOENT)\n")
    home.database.write_bytes(b"")
    code, _, err = nst("backup", str(tmp_path / "other.tar"))
    assert (code, "(backup_failed)" in err) == (ExitCode.LOCAL, True)
    assert {path.name for path in tmp_path.iterdir()} == {"home", "nst.tar"}


@pytest.mark.parametrize("other_home", [False, True])
def test_a_second_backup_to_the_same_file_leaves_the_first_alone(
    home: Home, tmp_path: Path, nst: Run, monkeypatch: pytest.MonkeyPatch, other_home: bool
) -> None:
    file, write = tmp_path / "nst.tar", HomeBackup.write
    shutil.copytree(home.folder, tmp_path / "other")
    ended: list[tuple[int, str, str]] = []

    def interrupted(backup: HomeBackup, target: IO[bytes]) -> Backup:
        monkeypatch.setattr(HomeBackup, "write", write)
        with _scratch(home):  # as if the first one was still reading
            second = ["backup", str(file), "--home", str(tmp_path / "other") if other_home else str(home.folder)]
            ended.append(nst(*second))
        return write(backup, target)

    monkeypatch.setattr(HomeBackup, "write", interrupted)
    code, _, err = nst("backup", str(file), "--home", str(home.folder))
    if other_home:
        # The second one was faster.
        assert (ended[0][0], code) == (ExitCode.OK, ExitCode.LOCAL)
        assert f"nst: error: {file} exists already. (backup_failed)\n" in err
    else:
        assert (ended[0][0], "Another backup of" in ended[0][2]) == (ExitCode.LOCAL, True)
        assert code == ExitCode.OK
    assert nst("restore", str(file), "--home", str(tmp_path / "new"))[0] == ExitCode.OK
    assert {path.name for path in tmp_path.iterdir()} == {"home", "other", "nst.tar", "new"}


def test_what_killed_backups_left_is_removed_by_the_next_one(home: Home, tmp_path: Path, nst: Run) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    for name in (".nst-backup-000000000001.part", ".nst-backup-000000000002.part", "mine.part"):
        (folder / name).write_bytes(b"half")
    # The second one is still written.
    with open(folder / ".nst-backup-000000000002.part", "ab") as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        assert nst("backup", str(folder / "nst.tar"))[0] == ExitCode.OK
    assert {path.name for path in folder.iterdir()} == {".nst-backup-000000000002.part", "mine.part", "nst.tar"}


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
