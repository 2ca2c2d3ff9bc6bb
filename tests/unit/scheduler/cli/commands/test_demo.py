"""The contact sheet and the summary of `nst demo`; tests/e2e runs all of it."""

from pathlib import Path

from PIL import Image

from nst_core.client.resources.styles import Style
from scheduler.cli.commands.demo import _make_sheet, _summary
from tests.unit.scheduler.cli.ui.screen import joined
from tests.unit.scheduler.cli.ui.test_jobs import JOB

STYLES = [Style(name=name, version="ab" * 32, card=card) for name, card in (("night", {"title": "Night"}), ("day", {}))]


def test_the_summary_has_the_time_and_the_place_of_the_results() -> None:
    text = joined(_summary(JOB, STYLES, Path("out[1]"), 12.34))
    for part in (
        "partially_succeeded images 30 of 40 styles night, day job time 10.0 s (3.00 images/s)",
        "total time 12.3 s results out[1] contact sheet out[1]/contact_sheet.jpg",
    ):
        assert part in text


def test_a_picture_that_is_missing_leaves_its_place_on_the_sheet_empty(tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    Image.new("RGB", (40, 30), "red").save(photo)
    sizes = set()
    for pictures in ({}, {("a.png", "day"): photo}):
        _make_sheet(tmp_path / "sheet.jpg", [photo], STYLES, pictures)
        with Image.open(tmp_path / "sheet.jpg") as sheet:
            sizes.add(sheet.size)
    assert len(sizes) == 1
