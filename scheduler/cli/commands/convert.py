"""Conversion of checkpoints on this machine to weights files of nst, in a separate process with torch."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from nst_core.errors import WeightsError
from nst_core.extras import install_command
from nst_core.nets.weights_header import read_config
from nst_core.styles import WEIGHTS_NAME
from scheduler.cli.exits import ConversionError


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A weights file of nst, and the project whose checkpoint it was converted from; None if nst made it."""

    path: Path
    origin: str | None = None


def weights_of(checkpoint: Path, scratch: Path) -> Weights:
    """Return the weights file of a checkpoint: the file itself if it is one, else a new file in the folder `scratch`.

    Raises WeightsError if the checkpoint has no network that nst knows, ConversionError if it cannot be read.
    """
    if checkpoint.exists() and not checkpoint.is_file():
        raise WeightsError(f"{checkpoint} is not a regular file.")
    try:
        with open(checkpoint, "rb") as file:
            read_config(file)
    except WeightsError:
        return _converted(checkpoint, scratch / WEIGHTS_NAME)
    # Unchanged, because the version of a style is the hash of its file.
    return Weights(path=checkpoint)


def _converted(checkpoint: Path, target: Path) -> Weights:
    if importlib.util.find_spec("torch") is None:
        raise ConversionError(
            f"{checkpoint} must be converted, which needs torch on this machine; {install_command('worker')} "
            "installs it."
        )
    command = [sys.executable, "-m", "nst_core.peers", str(checkpoint.absolute()), f"--output={target}"]
    done = subprocess.run(
        [*command, f"--name={checkpoint}"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )
    last = done.stderr.strip().rpartition("\n")[2]
    if done.returncode == 1 and last.startswith(str(checkpoint)):
        raise WeightsError(last)
    if done.returncode != 0:
        raise ConversionError(f"The conversion of {checkpoint} failed with exit code {done.returncode}: {last}")
    origin = json.loads(done.stdout)["origin"]
    return Weights(path=target, origin=None if origin == "nst" else origin)
