"""The engines by name. A faster engine is one more module beside `eager` and one more entry here."""

from collections.abc import Callable
from typing import Any

from nst_core.errors import ConfigError
from nst_core.inference.any_size import EXACT_WHOLE_PIXELS, WHOLE_PIXELS, AnySizeStylizer, Engine
from nst_core.inference.cuda import CudaStylizer
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.native_engine import NativeStylizer
from nst_core.inference.openvino_engine import OpenvinoStylizer
from nst_core.inference.stylizer import EXACT, EngineChoice, Stylizer
from nst_core.nets.families import Style

#: From the bytes of a weights file, and the keyword arguments `style`, `device` and `precision`, to an engine.
ENGINES: dict[str, Callable[..., Engine]] = {
    "eager": EagerStylizer.load,
    "openvino": OpenvinoStylizer.load,
    "native": NativeStylizer.load,
    "cuda": CudaStylizer.load,
}


def load_stylizer(
    weights: bytes,
    *,
    style: Style = 0,
    device: Any = "cpu",
    choice: EngineChoice = EXACT,
    budget_bytes: int | None = None,
    progress: Callable[[], object] = lambda: None,
) -> Stylizer:
    """Return a style of a weights file on a device (a name or a torch.device), run by the chosen engine.

    Photos of any size that has room in `budget_bytes` are possible; the call for a large one takes minutes and calls
    `progress` after each part. Raises WeightsError if the file is damaged or has no such style, and ConfigError for an
    unknown engine or a precision that it does not have.
    """
    if choice.engine not in ENGINES:
        raise ConfigError(f"The engine must be one of {', '.join(ENGINES)}, not {choice.engine!r}.")
    engine = ENGINES[choice.engine](weights, style=style, device=device, precision=choice.precision)
    whole_pixels = EXACT_WHOLE_PIXELS if choice == EXACT else WHOLE_PIXELS
    return AnySizeStylizer(engine, budget_bytes=budget_bytes, whole_pixels=whole_pixels, progress=progress)
