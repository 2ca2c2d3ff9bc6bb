"""`python -m tests.benchmarks.looks --photos FOLDER --paintings FOLDER [--styles STYLE…]`: the look of pictures.

Each network paints the photos, reduced to a longest side of 512 px, and a table in Markdown says how its pictures look:
medians over the photos, of measures that no training minimises (`nst_core/looks`). The photo itself has a row too. A
style is the name of one that ships, or NAME=WEIGHTS for a file of weights. `--peers` is a folder with checkpoints of
other programs, of the name of their painting. FOLDER of paintings has a picture `STYLE.*` for each style. None of them
comes with the project. `--people` leaves out photos without faces. `--sheet` writes a picture with rows of a photo,
ours and the peer's, below each painting.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from nst_core.faces.detector import FaceDetector
from nst_core.faces.face import Face
from nst_core.faces.protection import Protection, without_faces
from nst_core.inference.engines import load_stylizer
from nst_core.inference.painting import in_strokes
from nst_core.inference.planes import planes
from nst_core.inference.stylizer import EngineChoice
from nst_core.inference.tones import toned
from nst_core.looks.faces import CLEAR, compare_faces
from nst_core.looks.fog import find_fog
from nst_core.looks.halo import find_halos
from nst_core.looks.lattice import find_lattice
from nst_core.looks.planes import Pixels
from nst_core.looks.similarity import feature_distance, ssim
from nst_core.looks.steadiness import change_between_sizes, change_by_cropping
from nst_core.looks.style_distance import CONTENT_LAYER, PAINTING_PX, STYLE_LAYERS, StyleDistance
from nst_core.nets.loss_network import LossNetwork, load_loss_network
from nst_core.nets.tensors import to_tensor
from nst_core.nets.transformer import MIN_SIDE_PX
from nst_core.nets.weights import dump_transformer
from nst_core.peers.detect import identify
from nst_core.styles import shipped_styles
from nst_core.system.memory import keep_freed_memory
from tests.benchmarks.machine import describe
from tests.benchmarks.pictures import load_picture
from tests.shipped import shipped_style

PHOTO_PX = 512
SIZES = (500_000, 2_000_000)
#: Photos that are painted in both sizes too: the largest ones.
SIZED = 2
#: Names that other programs have for our paintings.
ALIASES = {"wave": "great_wave", "scream": "the_scream", "wreck": "wreck_of_the_minotaur"}
FAST = EngineChoice(engine="native", precision="fp32")
#: The row of the photo, as a network that changes nothing.
UNCHANGED = "the photo itself"
#: With what the names of other programs' networks begin.
PEER = "peer"

Paint = Callable[[Pixels], Pixels]


@dataclass(kw_only=True)
class Photo:
    """A photo, in its own size and in the size that is measured."""

    name: str
    full: Pixels
    pixels: Pixels
    features: dict[str, Tensor]
    faces: tuple[Face, ...]

    @property
    def has_faces(self) -> bool:
        """Whether it has faces that count."""
        return any(face.score >= CLEAR for face in self.faces)


@dataclass(kw_only=True)
class Row:
    """What was measured of a network, by measure and photo."""

    name: str
    values: dict[str, list[float | None]] = field(default_factory=dict)
    pictures: list[Pixels] = field(default_factory=list)

    def add(self, found: dict[str, float | None]) -> None:
        """Add the measures of one photo."""
        for name, value in found.items():
            self.values.setdefault(name, []).append(value)

    def typical(self, name: str) -> str:
        """Return the median of a measure, or nothing without a value."""
        found = [value for value in self.values.get(name, []) if value is not None]
        return f"{median(found):.{DIGITS[name]}f}" if found else ""

    def faces(self) -> str:
        """Return how many of the faces of all photos are found again."""
        again, all_ = (sum(value or 0 for value in self.values[name]) for name in FACES)
        return f"{again:.0f} of {all_:.0f}"


#: The measures in their order, and their digits.
DIGITS = {
    "style relu4_1": 3,
    "style relu5_1": 3,
    "moments relu5_1": 3,
    "SSIM": 2,
    "content relu4_2": 2,
    "lattice": 2,
    "period, px": 1,
    "lattice contrast": 1,
    "fog": 1,
    "halo": 1,
    "halo width, px": 0,
    "face SSIM": 2,
    "0.5 to 2 megapixels": 1,
    "cropped": 1,
}
#: Counts, of which the table has the sums.
FACES = ("faces found again", "faces")


class Instruments:
    """All measures, with what they have in common."""

    @cached_property
    def network(self) -> LossNetwork:
        """The loss network up to the deepest layer."""
        return load_loss_network([*STYLE_LAYERS, CONTENT_LAYER]).to(memory_format=torch.channels_last)

    @cached_property
    def detector(self) -> FaceDetector:
        """The detector of faces."""
        return FaceDetector()

    def style(self, painting: Path) -> StyleDistance:
        """Return the distance to a painting."""
        with torch.inference_mode():
            sizes = {px: self.network(load_picture(painting, long_side_px=px)) for px in PAINTING_PX}
        return StyleDistance({px: {layer: found[layer] for layer in STYLE_LAYERS} for px, found in sizes.items()})

    def photo(self, path: Path) -> Photo:
        """Return a photo that is ready to be compared with."""
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
        scale = PHOTO_PX / max(image.size)
        pixels = np.array(
            image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
        )
        with torch.inference_mode():
            features = self.network(to_tensor(pixels))
        return Photo(
            name=path.stem, full=np.array(image), pixels=pixels, features=features, faces=self.detector(pixels)
        )

    def measure(self, photo: Photo, picture: Pixels, style: StyleDistance) -> dict[str, float | None]:
        """Return the measures of one picture."""
        with torch.inference_mode():
            features = photo.features if picture is photo.pixels else self.network(to_tensor(picture))
            distances = style(features)
            content = feature_distance(features[CONTENT_LAYER], photo.features[CONTENT_LAYER])
        kept = compare_faces(photo.pixels, picture, photo.faces, self.detector(picture))
        lattice, halos = find_lattice(photo.pixels, picture), find_halos(photo.pixels, picture)
        return {
            "style relu4_1": distances["relu4_1"].gram,
            "style relu5_1": distances["relu5_1"].gram,
            "moments relu5_1": distances["relu5_1"].moments,
            "SSIM": ssim(to_tensor(photo.pixels), to_tensor(picture)),
            "content relu4_2": content,
            "lattice": lattice.height if lattice else None,
            "period, px": lattice.period_px if lattice else None,
            "lattice contrast": lattice.contrast if lattice else None,
            "fog": find_fog(photo.pixels, picture),
            "halo": abs(halos.stronger.overshoot) if halos else None,
            "halo width, px": halos.stronger.width_px if halos else None,
            "face SSIM": kept.ssim,
            "faces found again": kept.in_picture,
            "faces": kept.in_photo,
        }


def measured(name: str, paint: Paint, photos: Sequence[Photo], style: StyleDistance, instruments: Instruments) -> Row:
    """Return the row of one network."""
    row = Row(name=name)
    largest = sorted(photos, key=lambda photo: -photo.full.size)[:SIZED]
    for photo in photos:
        picture = paint(photo.pixels)
        row.pictures.append(picture)
        found = instruments.measure(photo, picture, style)
        found["cropped"] = change_by_cropping(paint, photo.pixels, picture)
        if any(photo is each for each in largest):
            found["0.5 to 2 megapixels"] = change_between_sizes(
                paint, photo.full, small_pixels=SIZES[0], large_pixels=SIZES[1]
            )
        row.add(found)
    return row


def nearer(row: Row, peer: Row) -> str:
    """Return for how many photos a network is nearer to the painting than a peer, at relu5_1."""
    pairs = zip(row.values["style relu5_1"], peer.values["style relu5_1"], strict=True)
    wins = [own < other for own, other in pairs if own is not None and other is not None]
    return f"{sum(wins)} of {len(wins)}"


def painter(weights: bytes) -> Paint:
    """Return a network as a function from a photo to its picture."""
    stylizer = load_stylizer(weights, choice=FAST)
    return lambda photo: stylizer(photo[None])[0]


def protecting(paint: Paint, detect: FaceDetector) -> Paint:
    """Return a network that draws faces in the tones of its picture, as jobs with `faces: protect` do."""

    def paint_and_draw(photo: Pixels) -> Pixels:
        kept = Protection.of(detect(photo), height=photo.shape[0], width=photo.shape[1])
        return paint(photo) if kept is None else toned(photo, paint(photo), kept.weight, kept.near)

    return paint_and_draw


def varied(paint: Paint, detect: FaceDetector) -> Paint:
    """Return a network that paints with strokes of several sizes, as jobs with `stroke: varied` do."""

    def paint_in_layers(photo: Pixels) -> Pixels:
        broad = without_faces(detect(photo), height=photo.shape[0], width=photo.shape[1])
        return in_strokes(photo, "varied", paint, broad=broad, min_side_px=MIN_SIDE_PX)

    return paint_in_layers


def with_planes(paint: Paint, detect: FaceDetector) -> Paint:
    """Return a network that sees planes in flat parts, as jobs with `forms: planes` do."""

    def paint_planes(photo: Pixels) -> Pixels:
        weight = without_faces(detect(photo), height=photo.shape[0], width=photo.shape[1])
        return in_strokes(photo, None, paint, forms=planes(photo, [weight]))

    return paint_planes


def peers_in(folder: Path | None) -> Iterator[tuple[str, str, bytes]]:
    """Yield the painting, the name and our weights of each checkpoint in a folder."""
    for path in sorted(folder.iterdir()) if folder else ():
        painting = ALIASES.get(path.stem, path.stem)
        if path.suffix in (".npz", ".pth", ".model") and not path.stem.endswith("_golden"):
            net = identify(path.read_bytes(), name=path.name).net
            yield painting, f"{PEER} {path.stem}", dump_transformer(net, dtype=torch.float32)


def print_rows(rows: Sequence[Row]) -> None:
    """Print the rows of one painting. Its first row is the photo; ours are compared with those of peers."""
    peers = [row for row in rows if row.name.startswith(PEER)]
    for row in rows:
        counts = [] if row is rows[0] or row in peers else [nearer(row, peer) for peer in peers]
        cells = [row.name, *(row.typical(name) for name in DIGITS), row.faces(), *counts]
        print("| " + " | ".join(cells + [""] * (len(DIGITS) + 3 - len(cells))) + " |", flush=True)


def make_sheet(parts: Sequence[tuple[Path, Sequence[Row]]]) -> Image.Image:
    """Return the painting of each style above rows of the photo and what the networks made of it."""
    across, gap = 480, 8
    strips: list[list[Image.Image]] = []
    for painting, rows in parts:
        with Image.open(painting) as opened:
            strips.append([opened.convert("RGB")])
        strips += [list(map(Image.fromarray, cells)) for cells in zip(*(row.pictures for row in rows), strict=True)]
    for strip in strips:
        strip[:] = [image.resize((across, round(image.height * across / image.width))) for image in strip]
    height = sum(strip[0].height + gap for strip in strips)
    sheet = Image.new("RGB", (max(map(len, strips)) * (across + gap), height), "white")
    top = 0
    for strip in strips:
        for place, image in enumerate(strip):
            sheet.paste(image, (place * (across + gap), top))
        top += strip[0].height + gap
    return sheet


def main() -> None:
    """Parse the command line, measure each style and its peers, and print one table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.looks", description=__doc__)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--paintings", type=Path, required=True)
    parser.add_argument("--styles", nargs="+", default=[style.name for style in shipped_styles()], metavar="STYLE")
    parser.add_argument("--peers", type=Path, help="a folder of checkpoints")
    parser.add_argument("--protect", action="store_true", help="also measure the styles with protected faces")
    parser.add_argument("--varied", action="store_true", help="also measure the styles with varied strokes")
    parser.add_argument("--planes", action="store_true", help="also measure the styles with planes in flat parts")
    parser.add_argument("--people", action="store_true", help="only photos that have clear faces")
    parser.add_argument("--count", type=int, help="so many photos, evenly from the folder")
    parser.add_argument("--sheet", type=Path, help="the picture to write")
    args = parser.parse_args()
    keep_freed_memory()
    print(describe())
    instruments = Instruments()
    paths = sorted(args.photos.iterdir())
    count = min(args.count or len(paths), len(paths))
    photos = [instruments.photo(paths[round(place)]) for place in np.linspace(0, len(paths) - 1, count)]
    if args.people:
        photos = [photo for photo in photos if photo.has_faces]
    columns = ["network", *DIGITS, FACES[0], "nearer than the peer"]
    print("\n| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|", flush=True)
    peers, parts = list(peers_in(args.peers)), []
    for text in args.styles:
        name, _, file = text.partition("=")
        painting = next(args.paintings.glob(f"{name}.*"))
        own = Path(file).read_bytes() if file else shipped_style(name).weights()
        networks: list[tuple[str, Paint]] = [(UNCHANGED, lambda photo: photo), (name, painter(own))]
        networks += [(label, painter(weights)) for painted, label, weights in peers if painted == name]
        if args.protect:
            networks.append((f"{name}, faces protected", protecting(networks[1][1], instruments.detector)))
        if args.varied:
            networks.append((f"{name}, varied strokes", varied(networks[1][1], instruments.detector)))
        if args.planes:
            networks.append((f"{name}, planes", with_planes(networks[1][1], instruments.detector)))
        style = instruments.style(painting)
        rows = [measured(label, paint, photos, style, instruments) for label, paint in networks]
        print_rows(rows)
        parts.append((painting, rows))
    if args.sheet:
        make_sheet(parts).save(args.sheet)


if __name__ == "__main__":
    main()
