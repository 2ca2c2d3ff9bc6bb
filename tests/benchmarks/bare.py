"""`python -m tests.benchmarks.bare FOLDER STYLE…`: images per second of the bare stylizer on decoded photos.

Prints the seconds for all photos with all styles, without loading, decoding and encoding, after a warm-up.
"""

import sys
import time
from pathlib import Path

from nst_core.images import decode
from nst_core.inference.eager import EagerStylizer
from nst_core.system.memory import keep_freed_memory
from tests.shipped import shipped_style


def main(folder: Path, styles: list[str]) -> None:
    """Measure and print one number."""
    keep_freed_memory()  # as the worker does
    photos = [decode(path.read_bytes()).rgb[None] for path in sorted(folder.iterdir())]
    stylizers = [EagerStylizer.load(shipped_style(name).weights()) for name in styles]
    for stylizer in stylizers:
        stylizer(photos[0])
    started = time.perf_counter()
    for stylizer in stylizers:
        for photo in photos:
            stylizer(photo)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
