"""Which engine runs photos on this machine: what the settings say, or what a short measurement finds fastest."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
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
from nst_core.inference.openvino_compiled import core, precisions
from nst_core.inference.openvino_engine import OpenvinoStylizer
from nst_core.inference.openvino_runtime import runtime
from nst_core.inference.stylizer import EXACT, EngineChoice, Pixels, Stylizer
from nst_core.nets import native
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.system.devices import bf16_pays

_log = logging.getLogger(__name__)
AUTO = "auto"
_SIDE_PX = 96
_ROUNDS = 5
#: A candidate whose picture is further from the reference computes wrongly; bfloat16 comes to about 50 dB.
_LEAST_PSNR_DB = 35.0
#: A candidate must be this much faster than one with a better precision. Processors with instructions for a precision
#: gain more, and others nothing. Between the two, machines of one kind would come to different choices.
_WORTH = 1.3
#: An engine may even take this much longer than the one before it with the same precision. Times differ by a factor of
#: several while other programs run, and all machines of one kind should choose alike, also one that is busy.
_DOUBT = 2.0
#: Precisions that only the settings choose.
_ON_REQUEST = ("int8",)
#: The file with the choices of a machine.
_KEPT = "engines.json"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How long an engine took for a small photo, and how far its picture is from the reference."""

    choice: EngineChoice
    seconds: float
    psnr_db: float


def choose(
    device: torch.device | str, *, engine: str = AUTO, precision: str = AUTO, folder: Path | None = None
) -> EngineChoice:
    """Return the engine for photos on a device, and its precision; "auto" stands for the fastest on this machine.

    A flag of the processor does not decide it, since a kernel may be missing or slow although the processor has the
    instructions: a small network runs in each way that is possible, which takes a second. The choice is kept in
    `folder`, so that all workers of a machine with the same folder choose alike, until the hardware or a version
    changes. "auto" never chooses int8, whose pictures are further from the reference than all others.

    Raises ConfigError for an engine or a precision that this machine does not have.
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
    if folder is None:
        return _measured_best(place, possible)
    return kept(folder / _KEPT, _machine(place, possible), lambda: _measured_best(place, possible))


def _measured_best(device: torch.device, possible: list[EngineChoice]) -> EngineChoice:
    if device.type == "cuda":
        # A small network would only measure how soon a GPU begins; its own probe has layers of a usual size.
        best = EngineChoice(engine="cuda", precision=probe(device))
        return best if best in possible else possible[-1]
    return fastest(measure(possible))


def _machine(device: torch.device, possible: list[EngineChoice]) -> str:
    """Return what a choice depends on: the hardware, the versions, and the possible choices."""
    if device.type == "cuda":
        hardware = [torch.cuda.get_device_name(device)]
    else:
        hardware = [str(core().get_property("CPU", "FULL_DEVICE_NAME")), torch.backends.cpu.get_cpu_capability()]
        hardware.append(f"OpenVINO {runtime().get_version()}")
    return "; ".join([*hardware, f"torch {torch.__version__}", f"nst {nst_core.__version__}", *map(str, possible)])


def fastest(measured: list[Measured]) -> EngineChoice:
    """Return the fastest of the choices that compute correctly; a lower precision has to be worth it.

    The list begins with the reference, and precisions become lower. Of engines with the same precision, the last one
    is the fastest, unless it is clearly slower here.
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
        same = candidate.choice.precision == best.choice.precision
        limit_s = best.seconds * _DOUBT if same else best.seconds / _WORTH
        if candidate.psnr_db >= _LEAST_PSNR_DB and candidate.seconds <= limit_s:
            best = candidate
    return best.choice


@dataclass(kw_only=True)
class _Candidate:
    choice: EngineChoice
    psnr_db: float = 0.0
    seconds: list[float] = field(default_factory=list)
    stylizer: Stylizer | None = None

    def run(self, photo: Pixels, reference: Pixels) -> None:
        """Take a time; the first run builds the network and compiles kernels, and takes none."""
        if self.stylizer is None:
            self.stylizer = _small_stylizer(self.choice)
            self.psnr_db = psnr_db(self.stylizer(photo), reference)
            return
        started = time.perf_counter()
        self.stylizer(photo)
        self.seconds.append(time.perf_counter() - started)


def measure(choices: Sequence[EngineChoice]) -> list[Measured]:
    """Run a small network with each engine of CPUs; in turns, so that other programs disturb all of them alike.

    An engine that fails is left out. Raises EngineError if none is left.
    """
    photo = _photo()
    reference = EagerStylizer(_small_net())(photo)
    candidates = [_Candidate(choice=choice) for choice in choices]
    for _ in range(1 + _ROUNDS):
        for candidate in [*candidates]:
            try:
                candidate.run(photo, reference)
            except Exception as error:  # noqa: BLE001 - whatever it is, another engine may work on this machine
                _log.warning("the engine %s does not work on this machine: %r", candidate.choice, error)
                candidates.remove(candidate)
    if not candidates:
        raise EngineError(f"None of these engines works on this machine: {', '.join(map(str, choices))}.")
    return [
        Measured(choice=candidate.choice, seconds=min(candidate.seconds), psnr_db=candidate.psnr_db)
        for candidate in candidates
    ]


def _candidates(device: torch.device) -> list[EngineChoice]:
    """Return what may run on a device, the reference first."""
    if device.type == "cuda":
        precisions_of_card = [name for name in DTYPES if name != "bf16" or bf16_pays(device)]
        return [EXACT, *(EngineChoice(engine="cuda", precision=precision) for precision in precisions_of_card)]
    own = PRECISIONS if native.library() is not None else ()
    openvino = [EngineChoice(engine="openvino", precision=precision) for precision in precisions()]
    ours = [EngineChoice(engine="native", precision=precision) for precision in own]
    return [EXACT, *openvino[:1], *ours, *openvino[1:]]


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
