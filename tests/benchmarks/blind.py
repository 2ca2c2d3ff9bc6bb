"""`python -m tests.benchmarks.blind make --photos FOLDER --paintings FOLDER --peers FOLDER --out FOLDER`: a blind test.

It writes pages on which someone sees a painting, and below it pairs of pictures, A and B, of the same photos: one of
them is ours and the other the peer's, and a seed decides which, so the names of the files say nothing. With `--gallery`
ours are painted as the gallery shows each style. `answers.json` has which is which. The judge writes `votes.json`, an
object with "A", "B" or "" (neither is better) for each number of a pair, without having seen the answers, and `python
-m tests.benchmarks.blind count FOLDER` says who was preferred how often. Photos and peers are those of
`tests.benchmarks.looks`; pages with them are not ours to publish.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from nst_core.inference.engines import load_stylizer
from nst_core.looks.planes import Pixels
from nst_core.styles import ShippedStyle
from scheduler.domain.looks import look_of
from tests.benchmarks.looks import FAST, Paint, painter, peers_in
from tests.gallery import Sample, painted
from tests.shipped import shipped_style

PHOTO_PX = 512
PAIRS_A_PAGE = 4
OURS, PEER = "ours", "the peer"
_GAP, _FONT_PX = 12, 24


def main() -> None:
    """Make the pages, or count the votes."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.blind", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    making, counting = commands.add_parser("make"), commands.add_parser("count")
    for name in ("--photos", "--paintings", "--peers", "--out"):
        making.add_argument(name, type=Path, required=True)
    making.add_argument("--seed", type=int, default=0)
    making.add_argument("--gallery", action="store_true")
    counting.add_argument("folder", type=Path)
    args = parser.parse_args()
    if args.command == "make":
        make(args.photos, args.paintings, args.peers, args.out, seed=args.seed, gallery=args.gallery)
    else:
        count(args.folder)


def make(photos: Path, paintings: Path, peers: Path, out: Path, *, seed: int, gallery: bool) -> None:
    """Write the pages of each peer whose painting we have a style of, and the answers."""
    out.mkdir(parents=True, exist_ok=True)
    dice, pictures = random.Random(seed), [read(path) for path in sorted(photos.iterdir())]
    answers: dict[str, dict[str, str]] = {}
    for name, label, weights in peers_in(peers):
        style = shipped_style(name)
        own = as_shown(style) if gallery else painter(style.weights())
        both: dict[str, Paint] = {OURS: own, PEER: painter(weights)}
        with Image.open(next(paintings.glob(f"{name}.*"))) as opened:
            painting = opened.convert("RGB")
        shuffled = dice.sample(pictures, len(pictures))
        for start in range(0, len(shuffled), PAIRS_A_PAGE):
            pairs = {}
            for photo in shuffled[start : start + PAIRS_A_PAGE]:
                number = f"{len(answers) + 1:03}"
                order = dice.sample([OURS, PEER], 2)
                answers[number] = {"style": name, "peer": label, **dict(zip("AB", order, strict=True))}
                pairs[number] = [both[who](photo) for who in order]
            page(painting, pairs).save(out / f"{name}_{min(pairs)}.jpg", quality=90)
    (out / "answers.json").write_text(json.dumps(answers, indent=1) + "\n")


def as_shown(style: ShippedStyle) -> Paint:
    """Return a style as jobs with `look: gallery` paint it."""
    stylizer, look = load_stylizer(style.weights(), choice=FAST), look_of(style.card)
    return lambda photo: painted(Sample.of(photo), look, stylizer)


def read(path: Path) -> Pixels:
    """Return a photo, upright, with its longest side reduced to PHOTO_PX."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    return np.array(ImageOps.contain(image, (PHOTO_PX, PHOTO_PX), Image.Resampling.LANCZOS))


def page(painting: Image.Image, pairs: Mapping[str, Sequence[Pixels]]) -> Image.Image:
    """Return the painting above rows of A and B."""
    width = 2 * (PHOTO_PX + _GAP)
    rows = [ImageOps.contain(painting, (width, PHOTO_PX))]
    rows += [_pair(number, [Image.fromarray(each) for each in pictures]) for number, pictures in pairs.items()]
    whole = Image.new("RGB", (width, sum(row.height + _GAP for row in rows)), "white")
    top = 0
    for row in rows:
        whole.paste(row, (0, top))
        top += row.height + _GAP
    return whole


def _pair(number: str, pictures: Sequence[Image.Image]) -> Image.Image:
    line, font = _FONT_PX + 10, ImageFont.load_default(size=_FONT_PX)
    row = Image.new("RGB", (2 * (PHOTO_PX + _GAP), pictures[0].height + line), "white")
    for place, (letter, picture) in enumerate(zip("AB", pictures, strict=True)):
        ImageDraw.Draw(row).text((place * (PHOTO_PX + _GAP), 0), f"{number} {letter}", fill="black", font=font)
        row.paste(picture, (place * (PHOTO_PX + _GAP), line))
    return row


def count(folder: Path) -> None:
    """Print for each style how often ours was preferred, the peer's, and neither."""
    answers = json.loads((folder / "answers.json").read_text())
    votes = json.loads((folder / "votes.json").read_text())
    if set(votes) - set(answers):
        raise SystemExit(f"votes.json has numbers that no pair has: {sorted(set(votes) - set(answers))}")
    print("| style | pairs | ours preferred | the peer's | neither |\n|---|---|---|---|---|")
    for style in sorted({answer["style"] for answer in answers.values()}):
        wins = Counter(
            answers[number].get(vote, "") for number, vote in votes.items() if answers[number]["style"] == style
        )
        total = sum(wins.values())
        if total:
            print(f"| `{style}` | {total} | {wins[OURS]} ({wins[OURS] / total:.0%}) | {wins[PEER]} | {wins['']} |")


if __name__ == "__main__":
    main()
