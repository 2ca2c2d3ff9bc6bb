"""The engines by name. A faster engine is one more module beside `eager` and one more entry here."""

from collections.abc import Callable
from typing import Any

from nst_core.errors import ConfigError
from nst_core.inference.cuda import CudaStylizer
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.openvino_engine import OpenvinoStylizer
from nst_core.inference.stylizer import EXACT, EngineChoice, Stylizer

#: From the bytes of a weights file, and the keyword arguments `device` and `precision`, to a stylizer.
ENGINES: dict[str, Callable[..., Stylizer]] = {
    "eager": EagerStylizer.load,
    "openvino": OpenvinoStylizer.load,
    "cuda": CudaStylizer.load,
}


def load_stylizer(weights: bytes, *, device: Any = "cpu", choice: EngineChoice = EXACT) -> Stylizer:
    """Return the style of a weights file on a device (a name or a torch.device), run by the chosen engine.

    Raises WeightsError if the file is damaged, and ConfigError for an unknown engine or a precision that it does not
    have.
    """
    if choice.engine not in ENGINES:
        raise ConfigError(f"The engine must be one of {', '.join(ENGINES)}, not {choice.engine!r}.")
    return ENGINES[choice.engine](weights, device=device, precision=choice.precision)
