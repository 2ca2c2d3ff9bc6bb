"""The place of the results."""

import os
from pathlib import Path

import pytest

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import CannedApi
from tests.unit.scheduler.cli.conftest import Run


@pytest.mark.parametrize("place", ["file", "file/below", "link", "readonly/new"])
def test_an_unwritable_folder_is_reported_before_the_upload(
    api: CannedApi, here: Run, tmp_path: Path, place: str
) -> None:
    (tmp_path / "0.jpg").write_bytes(b"photo")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "readonly").mkdir(mode=0o500)
    if place.startswith("readonly") and os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    code, _, err = here("stylize", str(tmp_path / "0.jpg"), "-s", "great_wave", "-o", str(tmp_path / place))
    assert code == ExitCode.LOCAL
    assert str(tmp_path / place.split("/")[0]) in err
    assert api.requests == []
