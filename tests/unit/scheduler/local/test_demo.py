"""The material of the demo."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scheduler.local.demo import SAMPLE_PHOTOS, contact_sheet, wrapped, write_sample_photos


def test_sample_photos_are_colour_pictures_of_a_moderate_size(tmp_path: Path) -> None:
    paths = write_sample_photos(tmp_path / "photos")
    assert [path.stem for path in paths] == [sample.name for sample in SAMPLE_PHOTOS]
    for path in paths:
        with Image.open(path) as photo:
            assert photo.mode == "RGB"
            assert 256 < max(photo.size) <= 640


def test_every_sample_photo_is_free_for_any_use() -> None:
    assert all(sample.rights.endswith(("CC0", "public domain")) for sample in SAMPLE_PHOTOS)


def test_the_contact_sheet_has_a_row_for_each_photo_and_a_column_for_each_heading(tmp_path: Path) -> None:
    red, blue = tmp_path / "red.png", tmp_path / "blue.png"
    Image.new("RGB", (100, 300), "red").save(red)
    Image.new("RGBA", (300, 100), "blue").save(blue)
    sheet = contact_sheet(["photo", "style"], [[red, blue], [blue, None]])
    assert sheet.size == (12 + 2 * 372, 40 + 2 * 282)
    assert [sheet.getpixel((x, y)) for y in (175, 457) for x in (192, 564)] == [
        (255, 0, 0),
        (0, 0, 255),
        (0, 0, 255),
        (250, 250, 248),
    ]
    assert len(set(sheet.crop((0, 0, sheet.width, 40)).get_flattened_data())) > 2  # the headings


@pytest.mark.parametrize(
    ("title", "lines"),
    [
        ("Udnie", ["Udnie"]),
        ("The Wreck of a Transport Ship", ["The Wreck of a", "Transport Ship"]),
        ("a b c d e f g h i j k l m n o p q r s t u v", ["a b c d e f g", "h i j k l m n", "o p q r s t u…"]),
        ("Donaudampfschifffahrtsgesellschaft", ["Donaudampfsch…"]),
        ("", [""]),
    ],
)
def test_a_title_is_wrapped_to_its_column(title: str, lines: list[str]) -> None:
    assert wrapped(title, len, 14) == lines


def test_long_titles_stay_above_their_own_pictures() -> None:
    title = "The Wreck of a Transport Ship (The Shipwreck of the Minotaur)"
    short, long = contact_sheet(["x", "x"], [[None, None]]), contact_sheet([title, title], [[None, None]])
    assert long.height > short.height
    ink = np.asarray(long.convert("L")) < 128
    column = 12 + 360 + 12 // 2  # the middle of the gap between the two columns
    assert ink.any()
    assert not ink[:, column - 5 : column + 5].any()
