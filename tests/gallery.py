"""Makes the pictures and the page of the shipped styles: `python -m tests.gallery --paintings FOLDER`.

FOLDER has the paintings, `NAME.jpg` for each style; a style whose painting is not there keeps its sheet. The page needs
none; `--page` writes it alone.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from nst_core.faces.detector import FaceDetector
from nst_core.faces.protection import Protection, without_faces
from nst_core.images import encode
from nst_core.inference.blend import Weight
from nst_core.inference.engines import load_stylizer
from nst_core.inference.forms import NO_FORMS, Levels
from nst_core.inference.painted_faces import with_painted_faces
from nst_core.inference.painting import in_strokes
from nst_core.inference.planes import planes
from nst_core.inference.selection import choose
from nst_core.inference.stylizer import Pixels, Stylizer
from nst_core.inference.tones import toned
from nst_core.styles import SHEET_NAME, ShippedStyle, shipped_styles
from nst_core.training.sheet import preview_sheet
from scheduler.domain.cards import trained_steps
from scheduler.domain.looks import Look, look_of
from tests.shipped import sample_photos

STYLES = Path(__file__).parents[1] / "nst_core" / "assets" / "styles"
PAGE = STYLES / "README.md"
#: One photo and what it is in each style, for the first screen of the project's page.
OVERVIEW = STYLES / "overview.jpg"
_INTRODUCTION = """# The styles that come with nst

Made by `python -m tests.gallery`. All sample photos are free; NOTICE in the main folder has the credits. `nst styles
show NAME` prints a card, and [nst_core/training](../../training/README.md) says how such networks are trained.

![A photo, and what it is in each style](overview.jpg)
"""
_PAINTING_PX = 1024
_TILE_PX, _GAP_PX, _ACROSS = 300, 6, 7


def main() -> None:
    """Write the page, and the pictures unless there is `--page`."""
    parser = argparse.ArgumentParser(prog="python -m tests.gallery", description=__doc__)
    parser.add_argument("--paintings", type=Path, help="a folder with NAME.jpg for each style")
    parser.add_argument("--page", action="store_true", help="write the page alone")
    args = parser.parse_args()
    styles = shipped_styles()
    PAGE.write_text(page(styles))
    if args.page:
        return
    samples, last = [Sample.of(photo) for photo in sample_photos()], []
    for style in styles:
        stylizer = load_stylizer(style.weights(), choice=choose(torch.device("cpu")))
        look = look_of(style.card)
        pairs = [(sample.photo, painted(sample, look, stylizer)) for sample in samples]
        last.append(pairs[-1][1])
        file = args.paintings / f"{style.name}.jpg"
        if not file.exists():
            continue
        painting = Image.open(file).convert("RGB")
        painting.thumbnail((_PAINTING_PX, _PAINTING_PX))
        (style.folder / SHEET_NAME).write_bytes(encode(preview_sheet(np.array(painting), pairs), "jpg"))
    overview(samples[-1].photo, last).save(OVERVIEW, quality=88)


@dataclass(frozen=True)
class Sample:
    """A photo, and what depends on it alone."""

    photo: Pixels
    #: Its planes.
    forms: Levels
    #: Where it has no faces.
    broad: Weight
    #: Of its faces; None without faces.
    protection: Protection | None

    @classmethod
    def of(cls, photo: Pixels) -> "Sample":
        """Look for faces and draw planes."""
        height, width = photo.shape[:2]
        faces = FaceDetector()(photo)
        away = without_faces(faces, height=height, width=width)
        return cls(photo, planes(photo, [away]), away, Protection.of(faces, height=height, width=width))


def painted(sample: Sample, look: Look, stylizer: Stylizer) -> Pixels:
    """Return a photo as jobs paint it with `look: gallery`."""

    def paint(copy: Pixels) -> Pixels:
        result: Pixels = stylizer(copy[None])[0]
        return result

    picture = in_strokes(
        sample.photo,
        look.stroke,
        paint,
        forms={None: None, "none": NO_FORMS, "planes": sample.forms}[look.forms],
        broad=sample.broad,
        min_side_px=stylizer.min_side_px,
    )
    kept, drawing = sample.protection, sample.photo
    if kept is None or look.faces not in ("fine", "protect"):
        return picture
    if look.faces == "fine":
        drawing = with_painted_faces(drawing, kept.faces, look.stroke, paint, min_side_px=stylizer.min_side_px)
    return toned(drawing, picture, kept.weight, kept.near)


def page(styles: list[ShippedStyle]) -> str:
    """Return the page of some styles in Markdown, from their cards."""
    return "\n".join([_INTRODUCTION, *map(_section, styles)])


def _section(style: ShippedStyle) -> str:
    card, measured = style.card, style.card["evaluation"]
    made, look = card["made_from"], card.get("look", {})
    options = "".join(f" --{name} {value}" for name, value in look.items())
    facts = {
        "shown": f"`nst stylize PHOTO --style {style.name}{options} -o OUT`",
        "painting": f"{card['artist']}, {card['title']}, {card['year']}",
        "rights": card["rights"],
        "training": f"preset {made['preset']}, {trained_steps(card):,} steps, stroke {made['stroke']:g}, "
        f"strength {made['strength']:g}, palette {card['training']['palette']:g}, {made['photos']['count']:,} photos",
        f"measured on {measured['photos']} other photos": f"content loss {measured['content']:,.0f}, "
        f"style loss {measured['style']:,.0f}, SSIM to the photo {measured['ssim']:.2f}, "
        f"total loss {measured['loss_over_lbfgs50']:.2f} times that of 50 iterations of L-BFGS, without the palette",
    }
    if blended := made.get("blended"):
        facts["blended"] = "; ".join(f"{part}: {_shares(shares)}" for part, shares in blended.items())
    rows = "\n".join(f"| {name} | {fact} |" for name, fact in facts.items())
    picture = f"![{card['title']}, and photos in its style]({style.name}/{SHEET_NAME})"
    return f"## {style.name}\n\n{picture}\n\n| | |\n|---|---|\n{rows}\n"


def _shares(shares: dict[str, float]) -> str:
    return ", ".join(f"{share:.0%} {name}" for name, share in shares.items())


def overview(photo: Pixels, pictures: list[Pixels]) -> Image.Image:
    """Return a sheet: the photo at the top left, twice as wide as the pictures that follow it row by row."""
    step = _TILE_PX + _GAP_PX
    rows = -(-(2 + len(pictures)) // _ACROSS)
    sheet = Image.new("RGB", (_ACROSS * step - _GAP_PX, rows * step - _GAP_PX), "white")
    sheet.paste(_fitted(photo, _TILE_PX + step))
    for number, picture in enumerate(pictures, start=2):
        sheet.paste(_fitted(picture), (number % _ACROSS * step, number // _ACROSS * step))
    return sheet


def _fitted(picture: Pixels, width_px: int = _TILE_PX) -> Image.Image:
    return ImageOps.fit(Image.fromarray(picture), (width_px, _TILE_PX), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
