"""`python -m tests.gpu.child DEVICE FOLDER [--quick]`: a training that saves each step, for a check to kill."""

import sys
from pathlib import Path

import torch

from nst_core.system.devices import exact_float32
from tests.gpu.learning import CHECKPOINT, trainer


def main(device: str, folder: Path, *, quick: bool) -> None:
    """Train, and print the number of each step that is saved."""
    exact_float32()
    training = trainer(torch.device(device), quick=quick)
    while not training.done:
        step = training.step().step
        training.save(folder / CHECKPOINT)
        print(step, flush=True)
    training.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), quick="--quick" in sys.argv)
