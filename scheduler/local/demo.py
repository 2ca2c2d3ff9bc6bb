"""Sample photos for `nst demo`, and the contact sheet of its results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

#: Longest side of a sample photo, so that the demo takes less than a minute on two cores.
_MAX_PX = 640
_TILE = (360, 270)
_GAP = 12
#: Height of a heading of one line.
_HEADING_HEIGHT = 40
_LINE_PX = 24
_FONT_PX = 18
_BACKGROUND = (250, 250, 248)
_INK = (40, 40, 40)


@dataclass(frozen=True, kw_only=True)
class SamplePhoto:
    """A photo from scikit-image with a free license."""

    #: Name of the function in `skimage.data`; also the name of the file.
    name: str
    suffix: str
    #: License, from the docstring of the function.
    rights: str


SAMPLE_PHOTOS = (
    SamplePhoto(name="astronaut", suffix=".jpg", rights="NASA, public domain"),
    SamplePhoto(name="chelsea", suffix=".png", rights="Stefan van der Walt, CC0"),
    SamplePhoto(name="coffee", suffix=".jpg", rights="Rachel Michetti, CC0"),
    SamplePhoto(name="rocket", suffix=".jpg", rights="SpaceX, public domain"),
)


def write_sample_photos(folder: Path) -> list[Path]:
    """Write the sample photos as JPEG and PNG files, and return their paths. Nothing is downloaded."""
    # Late, because only the demo needs scikit-image, which takes a second to import.
    from skimage import data

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for sample in SAMPLE_PHOTOS:
        path = folder / f"{sample.name}{sample.suffix}"
        photo = Image.fromarray(getattr(data, sample.name)()).convert("RGB")
        photo.thumbnail((_MAX_PX, _MAX_PX), Image.Resampling.LANCZOS)
        photo.save(path, quality=95)
        paths.append(path)
    return paths


def contact_sheet(headings: Sequence[str], rows: Sequence[Sequence[Path | None]]) -> Image.Image:
    """Return a sheet with a column for each heading and rows of pictures; None leaves a place empty."""
    tile_width, tile_height = _TILE
    font = ImageFont.load_default(_FONT_PX)
    titles = [wrapped(heading, font.getlength, tile_width) for heading in headings]
    top = _HEADING_HEIGHT + (max(map(len, titles), default=1) - 1) * _LINE_PX
    width = _GAP + len(headings) * (tile_width + _GAP)
    sheet = Image.new("RGB", (width, top + len(rows) * (tile_height + _GAP)), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        x = _GAP + column * (tile_width + _GAP)
        for number, line in enumerate(title):
            y = top / 2 + (number - (len(title) - 1) / 2) * _LINE_PX
            draw.text((x + tile_width / 2, y), line, fill=_INK, font=font, anchor="mm")
        for row, pictures in enumerate(rows):
            if (path := pictures[column]) is not None:
                sheet.paste(_tile(path), (x, top + row * (tile_height + _GAP)))
    return sheet


def wrapped(text: str, length: Callable[[str], float], width: float, *, most_lines: int = 3) -> list[str]:
    """Return a text in lines of at most `width`, as `length` measures them. A text that is too long ends in …"""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if length(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > most_lines:
        lines[most_lines - 1 :] = [lines[most_lines - 1] + " …"]
    return [_cut(line, length, width) for line in lines]


def _cut(line: str, length: Callable[[str], float], width: float) -> str:
    if length(line) <= width:
        return line
    kept = line.removesuffix(" …")
    while kept and length(f"{kept}…") > width:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


def _tile(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        # Faces are usually above the middle.
        return ImageOps.fit(picture.convert("RGB"), _TILE, Image.Resampling.LANCZOS, centering=(0.5, 0.35))
