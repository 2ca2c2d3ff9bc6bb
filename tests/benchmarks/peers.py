"""`python -m tests.benchmarks.peers DATA`: checks that imported networks give the pictures of their authors.

DATA is a folder with two networks of lengstrom/fast-style-transfer and what belongs to them; it does not come with the
project. `reference/checkpoints/` has STYLE.npz, and STYLE_golden.npz with `input_HxW` (uint8) and `output_HxW` (the
network's result in grey levels, before clipping; sides rounded up to multiples of 4). `reference/outputs/` has the
author's own JPEG files of the photo `content/test/chicago.jpg`.

Three comparisons, in grey levels of 255. Golden: what the import computes and what another port of the network did;
the check fails if they differ by 0.01. Published: the Stylizer's picture and the author's, beside what the saving
as JPEG costs alone (the picture saved with the author's own tables and read again). Half: the golden comparison with
the import stored as float16.
"""

import argparse
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from nst_core.inference.eager import EagerStylizer
from nst_core.nets.transformer import TransformerNet
from nst_core.nets.weights import load_transformer, save_transformer
from nst_core.peers.detect import identify
from tests.benchmarks.machine import describe

#: The largest difference from a golden output, in grey levels.
TOLERANCE = 0.01
PUBLISHED = {
    "wave": ("chicago.jpg", "chicago__great_wave__lengstrom.jpg"),
    "udnie": ("chicago.jpg", "chicago__udnie__lengstrom.jpg"),
}


def main() -> int:
    """Compare and print. Return 1 if a golden output does not match."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    parser.add_argument("data", type=Path, help="the folder of references and photos")
    folder: Path = parser.parse_args().data
    print(describe())
    worst = 0.0
    for style, (photo, picture) in PUBLISHED.items():
        checkpoints = folder / "reference" / "checkpoints"
        net = identify((checkpoints / f"{style}.npz").read_bytes(), name=f"{style}.npz").net
        worst = max(worst, compare_golden(style, net, checkpoints / f"{style}_golden.npz"))
        compare_published(style, net, folder / "content" / "test" / photo, folder / "reference" / "outputs" / picture)
    print(f"largest difference from a golden output: {worst:.4f} (limit {TOLERANCE})")
    return 0 if worst < TOLERANCE else 1


def compare_golden(style: str, net: TransformerNet, golden: Path) -> float:
    """Print the differences from the golden outputs and return the largest, with the network in float32."""
    with tempfile.TemporaryDirectory() as scratch:
        save_transformer(net, Path(scratch) / "half.safetensors")
        half = load_transformer(Path(scratch) / "half.safetensors")
    worst = 0.0
    with np.load(golden, allow_pickle=False) as arrays:
        for name in sorted(name for name in arrays.files if name.startswith("input_")):
            size = name.removeprefix("input_")
            photo, expected = arrays[name], arrays[f"output_{size}"]
            for label, each in (("float32", net), ("float16", half)):
                difference = np.abs(run(each, photo) - lined_up(expected, photo))
                print(f"{style:6} golden {size:7} {label}: max {difference.max():.5f}, mean {difference.mean():.5f}")
                if each is net:
                    worst = max(worst, float(difference.max()))
    return worst


def run(net: TransformerNet, photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the network's result on an H x W x 3 photo, in grey levels, not clipped."""
    x = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        result: NDArray[np.float32] = net(x)[0].permute(1, 2, 0).numpy() * 255
    return result


def lined_up(expected: NDArray[np.float32], photo: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the rows and columns of a rounded-up result that belong to the photo: the last ones."""
    return expected[-photo.shape[0] :, -photo.shape[1] :]


def compare_published(style: str, net: TransformerNet, photo: Path, published: Path) -> None:
    """Print how far the Stylizer's picture of a photo is from the author's."""
    with Image.open(photo) as opened:
        picture = EagerStylizer(net)(np.asarray(opened.convert("RGB"))[None])[0]
    saved = io.BytesIO()
    with JpegImageFile(published) as opened:
        theirs = np.asarray(opened.convert("RGB"))
        Image.fromarray(picture).save(saved, "JPEG", qtables=opened.quantization, subsampling=get_sampling(opened))
    with Image.open(saved) as opened:
        again = np.asarray(opened.convert("RGB"))
    shifted = np.roll(picture, 2, axis=0)
    print(
        f"{style:6} published {theirs.shape[1]}x{theirs.shape[0]}: mean {mean(picture, theirs):.3f} "
        f"({decibel(picture, theirs):.1f} dB), JPEG alone {mean(picture, again):.3f}, "
        f"two rows beside {mean(shifted, theirs):.1f}"
    )


def mean(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Return the mean absolute difference of two pictures in grey levels."""
    return float(np.abs(a.astype(np.float64) - b).mean())


def decibel(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Return the peak signal-to-noise ratio of two pictures."""
    return float(10 * np.log10(255**2 / np.square(a.astype(np.float64) - b).mean()))


if __name__ == "__main__":
    sys.exit(main())
