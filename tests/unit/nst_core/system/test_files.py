"""Private files and folders: nothing that another user of the machine prepared is trusted or written to."""

import os
from pathlib import Path

import pytest

from nst_core.errors import ConfigError
from nst_core.system.files import cache_folder, open_own, own_folder, usable_cache_folder, write_private

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
OTHER = 12345


def test_a_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    assert own_folder(tmp_path / "a" / "nst") == tmp_path / "a" / "nst"
    assert (tmp_path / "a" / "nst").stat().st_mode & 0o777 == 0o700
    own_folder(tmp_path / "a" / "nst")


def test_a_symbolic_link_of_the_same_user_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o755)
    (tmp_path / "nst").symlink_to("disk")
    assert own_folder(tmp_path / "nst") == tmp_path / "disk"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o707])
def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    (tmp_path / "nst").mkdir()
    (tmp_path / "nst").chmod(mode)
    with pytest.raises(ConfigError, match="Other users may write to"):
        own_folder(tmp_path / "nst")


@as_root
def test_a_folder_and_a_link_of_another_user_are_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", OTHER, OTHER)
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to("mine")
    os.chown(tmp_path / "link", OTHER, OTHER, follow_symlinks=False)
    (tmp_path / "to theirs").symlink_to("theirs")
    for name in ("theirs", "link", "to theirs"):
        with pytest.raises(ConfigError, match="belongs to another user"):
            own_folder(tmp_path / name)
        with pytest.raises(ConfigError, match="belongs to another user"):
            usable_cache_folder(tmp_path / name)


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "nst").write_bytes(b"")
    with pytest.raises(OSError, match="Not a directory"):
        own_folder(tmp_path / "nst")


def test_a_file_is_opened_without_truncation_and_never_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim.db"
    victim.write_bytes(b"precious")
    open_own(victim).close()
    assert victim.read_bytes() == b"precious"
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        open_own(tmp_path / "lock")
    (tmp_path / "new.part").symlink_to(victim)
    write_private(tmp_path / "new", "text")
    assert victim.read_bytes() == b"precious"


@as_root
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"")
    os.chown(tmp_path / "lock", OTHER, OTHER)
    with pytest.raises(ConfigError, match="belongs to another user"):
        open_own(tmp_path / "lock")


def test_caches_are_in_the_users_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "nst"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "nst"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "nst"


def test_without_a_home_that_can_be_written_a_private_temporary_folder_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nst_core.system.files.gettempdir", lambda: str(tmp_path))
    found = usable_cache_folder(Path("/dev/null/nst"))
    assert found == tmp_path / f"nst-{os.geteuid()}"
    assert found.stat().st_mode & 0o777 == 0o700
