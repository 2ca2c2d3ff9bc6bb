"""Turn a finished training into a style folder: weights, a card that says how it was made, and a sample picture."""

import csv
import json
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from PIL import Image

from nst_core.errors import ConfigError
from nst_core.styles import CARD_NAME, SAMPLE_NAME, WEIGHTS_NAME
from nst_core.stylize import Stylizer

#: The card gives the mean losses of so many last steps: one step's depend on its photos.
LAST_STEPS = 100
_SAMPLE_MAX_PX = 512


def ship(run: Path, folder: Path, *, about: dict[str, str], sample: Path) -> None:
    """Write the style of a finished run folder into `folder`.

    `about` is what the training does not know: title, artist, year, rights, data. `sample` is a photo; the card's
    picture is its stylization. Raises ConfigError where the training has not reached its last step.
    """
    state = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    if state["step"] < state["config"]["steps"]:
        raise ConfigError(f"The training is at step {state['step']} of {state['config']['steps']}.")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / WEIGHTS_NAME, folder / WEIGHTS_NAME)
    stylizer = Stylizer.load(folder / WEIGHTS_NAME)
    parameters = sum(parameter.numel() for parameter in stylizer.net.parameters())
    card = {**about, "parameters": parameters, "training": state["config"], "final_losses": last_losses(run)}
    (folder / CARD_NAME).write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    with Image.open(sample) as opened:
        photo = opened.convert("RGB")
    photo.thumbnail((_SAMPLE_MAX_PX, _SAMPLE_MAX_PX), Image.Resampling.LANCZOS)
    Image.fromarray(stylizer(np.asarray(photo)[None])[0]).save(folder / SAMPLE_NAME, quality=90)


def last_losses(run: Path) -> dict[str, Any]:
    """Return the weighted losses of a run, as means over its last steps."""
    with open(run / "losses.csv", newline="") as file:
        # A resumed training writes the steps since its last checkpoint again; the later ones count.
        rows = {int(row[0]): [float(value) for value in row[1:]] for row in csv.reader(file)}
    last = [rows[step] for step in sorted(rows)[-LAST_STEPS:]]
    content, style, tv = (round(fmean(values), 1) for values in zip(*last, strict=True))
    return {"content": content, "style": style, "tv": tv, "mean_of_last_steps": len(last)}
