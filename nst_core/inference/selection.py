"""Which engine runs photos on this machine: what the settings say, or what is fastest on processors of its kind."""

import logging
from pathlib import Path

import numpy as np
import torch

import nst_core
from nst_core.errors import ConfigError, EngineError
from nst_core.inference.cuda import DTYPES, probe
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.kept_choices import kept
from nst_core.inference.likeness import psnr_db
from nst_core.inference.native_engine import PRECISIONS, NativeStylizer
from nst_core.inference.openvino_compiled import precisions
from nst_core.inference.openvino_engine import OpenvinoStylizer
from nst_core.inference.stylizer import EXACT, EngineChoice, Pixels, Stylizer
from nst_core.nets import native
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.system.devices import bf16_pays, multiplies_pairs

_log = logging.getLogger(__name__)
AUTO = "auto"
_SIDE_PX = 96
#: An engine whose picture is further from the reference computes wrongly; bfloat16 comes to about 50 dB.
_LEAST_PSNR_DB = 35.0
#: Precisions that only the settings choose.
_ON_REQUEST = ("int8",)
#: The file with the choices of a machine.
_KEPT = "engines.json"


def choose(
    device: torch.device | str, *, engine: str = AUTO, precision: str = AUTO, folder: Path | None = None
) -> EngineChoice:
    """Return the engine for photos on a device, and its precision; "auto" stands for the fastest on this machine.

    On CPUs, what the processor can do decides, so that workers on machines of a kind make the same pictures, however
    busy one of them is. A small network tries the engine first: if it fails or computes wrongly here, the next one
    follows. "auto" never chooses int8, whose pictures are further from the reference than all others. On a GPU, the
    precision is measured; all workers of a machine with the same `folder` use what the first one has found there, until
    the hardware or a version changes.

    Raises ConfigError for an engine or a precision that this machine does not have, EngineError if none works.
    """
    place = torch.device(device)
    candidates = _candidates(place)
    possible = [
        choice
        for choice in candidates
        if engine in (AUTO, choice.engine)
        and (precision == choice.precision or (precision == AUTO and choice.precision not in _ON_REQUEST))
    ]
    if not possible:
        has = ", ".join(f"{choice.engine} {choice.precision}" for choice in candidates)
        raise ConfigError(f"This machine cannot run the engine {engine} with the precision {precision}; it has {has}.")
    if len(possible) == 1:
        return possible[0]
    if place.type != "cuda":
        return _last_that_works(possible)
    if folder is None:
        return _best_of_card(place, possible)
    return kept(folder / _KEPT, _card(place, possible), lambda: _best_of_card(place, possible))


def _best_of_card(device: torch.device, possible: list[EngineChoice]) -> EngineChoice:
    best = EngineChoice(engine="cuda", precision=probe(device))
    return best if best in possible else possible[-1]


def _card(device: torch.device, possible: list[EngineChoice]) -> str:
    """Return what the choice for a GPU depends on: the hardware, the versions, and the possible choices."""
    name = torch.cuda.get_device_name(device)
    return "; ".join([name, f"torch {torch.__version__}", f"nst {nst_core.__version__}", *map(str, possible)])


def _last_that_works(choices: list[EngineChoice]) -> EngineChoice:
    photo = _photo()
    reference = EagerStylizer(_small_net())(photo)
    for choice in reversed(choices):
        try:
            likeness_db = psnr_db(_small_stylizer(choice)(photo), reference)
        except Exception as error:  # noqa: BLE001 - whatever it is, another engine may work on this machine
            _log.warning("the engine %s does not work on this machine: %r", choice, error)
            continue
        if likeness_db >= _LEAST_PSNR_DB:
            return choice
        _log.warning("the engine %s computes wrongly on this machine: %.0f dB", choice, likeness_db)
    raise EngineError(f"None of these engines works on this machine: {', '.join(map(str, choices))}.")


def _candidates(device: torch.device) -> list[EngineChoice]:
    """Return what may run on a device: the reference first, and the fastest last."""
    if device.type == "cuda":
        precisions_of_card = [name for name in DTYPES if name != "bf16" or bf16_pays(device)]
        return [EXACT, *(EngineChoice(engine="cuda", precision=precision) for precision in precisions_of_card)]
    possible = {"native": PRECISIONS if native.library() is not None else (), "openvino": precisions()}
    return [EXACT, *(each for each in _order(device) if each.precision in possible[each.engine])]


def _order(device: torch.device) -> list[EngineChoice]:
    """Return the engines of CPUs as fast as they are on this processor, the slowest first."""
    int8, fp32, bf16 = (EngineChoice(engine="openvino", precision=each) for each in ("int8", "fp32", "bf16"))
    own, integers = (EngineChoice(engine="native", precision=each) for each in ("fp32", "int16"))
    # Our kernels have no instructions for matrices (AMX), with which bfloat16 is the fastest.
    amx, pairs = bf16_pays(device), multiplies_pairs()
    return [int8, *[integers] * (not pairs), fp32, *[bf16] * (not amx), own, *[integers] * pairs, *[bf16] * amx]


def _small_stylizer(choice: EngineChoice) -> Stylizer:
    if choice.engine == "native":
        return NativeStylizer(_small_net(), precision=choice.precision)
    if choice.engine == "openvino":
        return OpenvinoStylizer(_small_net(), precision=choice.precision)
    return EagerStylizer(_small_net())


def _small_net() -> TransformerNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return TransformerNet(TransformerConfig(blocks=1)).eval()


def _photo() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (1, _SIDE_PX, _SIDE_PX, 3), np.uint8)
