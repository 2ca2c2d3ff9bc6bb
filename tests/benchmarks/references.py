"""`python -m tests.benchmarks.references --data FOLDER [STYLE=WEIGHTS…]`: shipped styles against lengstrom's networks.

Both paint the test photos, reduced to a longest side of 512 px; printed is Johnson's loss of what the stylizer saves
(content relu3_3 with weight 1; style relu1_2, relu2_2, relu3_3, relu4_3 with weight 5 each; Gram / (C H W); means of
squares; VGG16), with the painting at several sizes: a network is at its best where the size is that of its strokes.
FOLDER has `content/test`, `styles` and `reference/checkpoints/NAME.npz`; it does not come with the project.
"""

import argparse
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from nst_core.inference.engines import load_stylizer
from nst_core.inference.stylizer import Stylizer
from nst_core.losses.content import ContentLoss
from nst_core.losses.gram import GramLoss, gram_matrix
from nst_core.nets.loss_network import load_loss_network
from nst_core.nets.tensors import to_tensor
from nst_core.nets.weights import dump_transformer
from nst_core.peers.detect import identify
from nst_core.system.memory import keep_freed_memory
from nst_core.training.config import TrainConfig
from tests.benchmarks.machine import describe
from tests.benchmarks.pictures import load_picture
from tests.shipped import shipped_style

#: Our name and their name of each painting.
PAIRS = {"great_wave": "wave", "udnie": "udnie"}
PAINTING_PX = (384, 512, 640, 768, 1024)
PHOTO_PX = 512
CONFIG = TrainConfig()


def photos_at(folder: Path) -> list[np.ndarray]:
    """Return the photos of a folder, their longest side at PHOTO_PX."""
    photos = []
    for path in sorted(folder.iterdir()):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        scale = PHOTO_PX / max(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        photos.append(np.array(image.resize(size, Image.Resampling.LANCZOS)))
    return photos


def totals(stylizer: Stylizer, painting: Path, photos: list[np.ndarray]) -> dict[int, float]:
    """Return the median total loss of a network by the size of the painting."""
    network = load_loss_network(CONFIG.layers).to(memory_format=torch.channels_last)
    content_loss = ContentLoss()
    losses: dict[int, dict[str, GramLoss]] = {}
    found: dict[int, list[float]] = {px: [] for px in PAINTING_PX}
    with torch.inference_mode():
        for px in PAINTING_PX:
            features = network(load_picture(painting, long_side_px=px))
            losses[px] = {
                layer: GramLoss(gram_matrix(features[layer]), normalization=CONFIG.gram)
                for layer in CONFIG.style_weights
            }
        for photo in photos:
            target = network(to_tensor(photo))[CONFIG.content_layer]
            features = network(to_tensor(stylizer(photo[None])[0]))
            content = CONFIG.content_weight * float(content_loss(features[CONFIG.content_layer], target))
            for px in PAINTING_PX:
                style = sum(
                    weight * float(losses[px][layer](features[layer])) for layer, weight in CONFIG.style_weights.items()
                )
                found[px].append(content + style)
    return {px: median(values) for px, values in found.items()}


def main() -> None:
    """Parse the command line and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", nargs="*", metavar="STYLE=WEIGHTS", help="instead of what ships")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="use only the first photos")
    args = parser.parse_args()
    keep_freed_memory()
    print(describe())
    given = dict(text.split("=", 1) for text in args.weights)
    photos = photos_at(args.data / "content" / "test")[: args.limit]
    print(f"{'painting, longest side':<28}" + "".join(f"{px:>10} px" for px in PAINTING_PX) + "      best")
    for ours, theirs in PAIRS.items():
        painting = next((args.data / "styles").glob(f"{ours}.*"))
        reference = identify((args.data / "reference" / "checkpoints" / f"{theirs}.npz").read_bytes()).net
        own = Path(given[ours]).read_bytes() if ours in given else shipped_style(ours).weights()
        networks = {
            f"lengstrom {theirs}": load_stylizer(dump_transformer(reference, dtype=torch.float32)),
            f"nst {ours}": load_stylizer(own),
        }
        for name, stylizer in networks.items():
            row = totals(stylizer, painting, photos)
            cells = "".join(f"{row[px]:>13,.0f}" for px in PAINTING_PX)
            print(f"{name:<28}{cells}{min(row.values()):>13,.0f}", flush=True)


if __name__ == "__main__":
    main()
