"""`nst demo` as a user runs it, with nothing but the command."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

from PIL import Image

from tests.processes import MARK, wait_until_gone

ROOT = Path(__file__).parents[2]
#: A busy machine may need many times the minute that two idle cores take.
TIMEOUT_S = 900


def start_demo(folder: Path, mark: str) -> "subprocess.Popen[str]":
    """Start the demo with its home and results in `folder`."""
    arguments = ["demo", "--home", str(folder / "home"), "--output", str(folder / "out")]
    return subprocess.Popen(
        [sys.executable, "-m", "scheduler.cli", *arguments],
        cwd=ROOT,
        # A wide terminal, because a long path would be wrapped in the middle of a name.
        env={**os.environ, "COLUMNS": "300", MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process: "subprocess.Popen[str]", text: str) -> None:
    """Read the output up to a line with `text`."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
    raise AssertionError(f"{text!r} was never said: {seen}")


def test_the_demo_makes_a_contact_sheet_and_leaves_nothing_running(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    process = start_demo(tmp_path, mark)
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, output
    assert "contact_sheet.jpg" in output
    assert wait_until_gone(mark, tmp_path) == {}
    results = sorted(path for path in (tmp_path / "out").iterdir() if "__" in path.name)
    photos = {path.name.partition("__")[0] for path in results}
    styles = {path.stem.partition("__")[2] for path in results}
    assert len(results) == len(photos) * len(styles) >= 4
    with Image.open(tmp_path / "out" / "contact_sheet.jpg") as sheet:
        # The longest title has two lines.
        assert sheet.size == (12 + (1 + len(styles)) * 372, 64 + len(photos) * 282)


def test_the_demo_stops_cleanly_when_it_is_interrupted(tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    process = start_demo(tmp_path, mark)
    read_until(process, "running: ")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "No process is left running" in output
    assert wait_until_gone(mark, tmp_path) == {}
