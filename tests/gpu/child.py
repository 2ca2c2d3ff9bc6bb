"""`python -m tests.gpu.child DEVICE FOLDER [--quick]`: a training that saves each step, for a check to kill."""

import sys
import time
from pathlib import Path

import torch

from nst_core.system.devices import exact_float32
from tests.gpu.learning import CHECKPOINT, STEPS, trainer


def main(device: str, folder: Path, *, quick: bool) -> None:
    """Train all steps but the last, and print the number of each one that is saved."""
    exact_float32()
    training = trainer(torch.device(device), quick=quick)
    while training.step_number < STEPS - 1:
        step = training.step().step
        training.save(folder / CHECKPOINT)
        print(step, flush=True)
    time.sleep(600)  # the check kills this process, at the latest now


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), quick="--quick" in sys.argv)
