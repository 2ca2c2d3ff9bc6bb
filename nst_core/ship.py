"""Turn a finished training into a style folder: weights, a card that says how it was made, and a sample picture."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from nst_core.errors import ConfigError, ImageError
from nst_core.images import Picture, decode, encode
from nst_core.styles import CARD_NAME, SAMPLE_NAME, WEIGHTS_NAME
from nst_core.stylize import Stylizer
from nst_core.training.checkpoint import CHECKPOINT_NAME, Checkpoint, read_checkpoint
from nst_core.training.curve import CURVE_NAME, last_losses, read_losses
from nst_core.training.files import write_whole
from nst_core.training.pictures import read_file
from nst_core.training.run import read_skipped

_SAMPLE_MAX_PX = 512


def ship(run: Path, folder: Path, *, about: dict[str, str], sample: Path) -> None:
    """Write the style of a finished run folder into `folder`.

    `about` is what the training does not know: title, artist, year, rights, data. `sample` is a photo; the card's
    picture is its stylization. Raises ConfigError where the training has not reached its last step or a file is
    missing, WeightsError where one is damaged, ImageError where the sample is no picture.
    """
    checkpoint = read_checkpoint(run / CHECKPOINT_NAME)
    if checkpoint.step < checkpoint.config.steps:
        raise ConfigError(f"The training is at step {checkpoint.step} of {checkpoint.config.steps}.")
    weights = read_file(run / WEIGHTS_NAME)
    stylizer = Stylizer.load(weights)
    parameters = sum(parameter.numel() for parameter in stylizer.net.parameters())
    card = {**about, "parameters": parameters, **describe(run, checkpoint)}
    try:
        photo = decode(read_file(sample), max_px=_SAMPLE_MAX_PX).rgb
    except ImageError as error:
        raise type(error)(f"{sample}: {error.message}") from error
    picture = Picture(rgb=stylizer(np.asarray(photo)[None])[0])
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / CARD_NAME, (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
    write_whole(folder / SAMPLE_NAME, encode(picture, "jpg", quality=90))
    write_whole(folder / WEIGHTS_NAME, weights)  # last: a folder with weights is a style


def describe(run: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what a run folder knows of its training, as JSON-ready values.

    That is its config, hashes of what it was made from, at which steps it was extended, and its weighted losses as
    means over the last steps. Raises ConfigError where there are no losses.
    """
    losses = read_losses(run / CURVE_NAME)
    if not losses:
        raise ConfigError(f"There are no losses in {run / CURVE_NAME}.")
    described: dict[str, Any] = {
        "training": checkpoint.config.to_dict(),
        "made_from": {**checkpoint.origin, "photos_skipped": len(read_skipped(run))},
        "final_losses": last_losses(losses),
    }
    if checkpoint.extensions:
        described["extensions"] = [{"at_step": at, "from_steps": steps} for at, steps in checkpoint.extensions]
    return described
