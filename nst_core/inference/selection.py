"""Which engine runs photos on this machine: what the settings say, or what a short measurement finds fastest."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nst_core.errors import ConfigError
from nst_core.inference.cuda import DTYPES, probe
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.openvino_engine import OpenvinoStylizer, precisions
from nst_core.inference.stylizer import EXACT, EngineChoice, Pixels, Stylizer
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.system.devices import bf16_pays

_log = logging.getLogger(__name__)
AUTO = "auto"
_SIDE_PX = 96
_ROUNDS = 5
#: A candidate whose picture is further from the reference computes wrongly; bfloat16 comes to about 50 dB.
_LEAST_PSNR_DB = 35.0
#: A candidate must be this much faster than the same engine in a better precision.
_WORTH = 1.1
#: Another engine may even take this much longer than the reference. Engines differ by a factor of several, and so do
#: times while other programs run. All workers of a machine should choose alike, also one that starts under load.
_DOUBT = 2.0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How long an engine took for a small photo, and how far its picture is from the reference."""

    choice: EngineChoice
    seconds: float
    psnr_db: float


def choose(device: torch.device | str, *, engine: str = AUTO, precision: str = AUTO) -> EngineChoice:
    """Return the engine for photos on a device, and its precision; "auto" stands for the fastest on this machine.

    A flag of the processor does not decide it, since a kernel may be missing or slow although the processor has the
    instructions: a small network runs in each way that is possible. Together with loading OpenVINO and compiling this
    takes seconds. Raises ConfigError for an engine or a precision that this machine does not have.
    """
    place = torch.device(device)
    candidates = _candidates(place)
    possible = [
        choice for choice in candidates if engine in (AUTO, choice.engine) and precision in (AUTO, choice.precision)
    ]
    if not possible:
        has = ", ".join(f"{choice.engine} {choice.precision}" for choice in candidates)
        raise ConfigError(f"This machine cannot run the engine {engine} with the precision {precision}; it has {has}.")
    if len(possible) == 1:
        return possible[0]
    if place.type == "cuda":
        # A small network would only measure how soon a GPU begins; its own probe has layers of a usual size.
        best = EngineChoice(engine="cuda", precision=probe(place))
        return best if best in possible else possible[-1]
    return fastest(measure(possible))


def fastest(measured: list[Measured]) -> EngineChoice:
    """Return the fastest of the choices that compute correctly; a lower precision has to be worth it.

    The list begins with the reference, and precisions become lower. Another engine than the reference is fastest
    unless it is clearly slower.
    """
    best = measured[0]
    for candidate in measured:
        _log.info(
            "engine %s %s: %.1f ms, %.0f dB",
            candidate.choice.engine,
            candidate.choice.precision,
            1000 * candidate.seconds,
            candidate.psnr_db,
        )
        limit_s = best.seconds / _WORTH if candidate.choice.engine == best.choice.engine else best.seconds * _DOUBT
        if candidate.psnr_db >= _LEAST_PSNR_DB and candidate.seconds <= limit_s:
            best = candidate
    return best.choice


def measure(choices: Sequence[EngineChoice]) -> list[Measured]:
    """Run a small network with each engine of CPUs; in turns, so that other programs disturb all of them alike."""
    photo = _photo()
    reference = EagerStylizer(_small_net())(photo)
    stylizers = [_small_stylizer(choice) for choice in choices]
    pictures = [stylizer(photo) for stylizer in stylizers]  # the first calls compile kernels
    seconds = [float("inf")] * len(choices)
    for _ in range(_ROUNDS):
        for place, stylizer in enumerate(stylizers):
            started = time.perf_counter()
            stylizer(photo)
            seconds[place] = min(seconds[place], time.perf_counter() - started)
    return [
        Measured(choice=choice, seconds=least, psnr_db=psnr_db(picture, reference))
        for choice, least, picture in zip(choices, seconds, pictures, strict=True)
    ]


def psnr_db(picture: Pixels, reference: Pixels) -> float:
    """Return the peak signal-to-noise ratio of two pictures in dB; infinite if they are equal."""
    error = float(np.mean(np.square(picture.astype(np.float64) - reference)))
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def _candidates(device: torch.device) -> list[EngineChoice]:
    """Return what may run on a device, the reference first."""
    if device.type == "cuda":
        precisions_of_card = [name for name in DTYPES if name != "bf16" or bf16_pays(device)]
        return [EXACT, *(EngineChoice(engine="cuda", precision=precision) for precision in precisions_of_card)]
    return [EXACT, *(EngineChoice(engine="openvino", precision=precision) for precision in precisions())]


def _small_stylizer(choice: EngineChoice) -> Stylizer:
    if choice.engine == "openvino":
        return OpenvinoStylizer(_small_net(), precision=choice.precision)
    return EagerStylizer(_small_net())


def _small_net() -> TransformerNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TransformerNet(TransformerConfig(blocks=1)).eval()


def _photo() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (1, _SIDE_PX, _SIDE_PX, 3), np.uint8)
