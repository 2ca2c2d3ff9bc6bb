"""Single pictures of a command, such as a painting."""

from pathlib import Path

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi
from tests.unit.scheduler.cli.conftest import Run
from tests.unit.scheduler.cli.submissions import PRESET


def test_a_painting_that_is_a_folder_is_refused(api: CannedApi, here: Run, tmp_path: Path) -> None:
    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    code, _, err = here("optimize", "s3://nst/in/0.jpg", str(tmp_path), "-o", str(tmp_path / "out"))
    assert code == ExitCode.USAGE
    assert "is a folder; one picture is needed" in err
