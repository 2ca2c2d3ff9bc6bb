"""Devices of torch: their names, abilities and precision."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch

from nst_core.errors import ConfigError

#: What convolutions multiply; the rest of a training is float32.
TrainingPrecision = Literal["fp32", "int16", "bf16"]


def resolve_device(name: str) -> torch.device:
    """Return the device of a name: "auto" (a GPU if there is one, else the CPU), "cpu", "cuda" or "cuda:1".

    Raises ConfigError for another name or for a GPU that does not exist.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"The device must be auto, cpu, cuda or cuda:N, not {name!r}.") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"The device must be auto, cpu, cuda or cuda:N, not {name!r}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"This machine has no device {name!r}.")
    return device


def exact_float32() -> None:
    """Make the whole process compute float32 operations in float32.

    By default, GPUs since NVIDIA's Ampere round the inputs of convolutions to TF32 (10 bits). Then "exact" results are
    not exact, and a line search that compares the sixth digit stops on noise.
    """
    backends: Any = torch.backends  # its stubs do not know these
    for part in (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn):
        part.fp32_precision = "ieee"


@contextmanager
def repeatable() -> Iterator[None]:
    """Let the process meanwhile use only convolutions on GPUs that come to the same bits each time."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def on_device(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which a GPU is torch's current device, for code that uses the current one."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def training_precision(device: torch.device) -> TrainingPrecision:
    """Return the precision in which the device computes trainings and optimisations fastest.

    Processors without AMX have no fast bfloat16: with that of AVX-512, torch comes to the speed of our kernels in
    float32, after half a minute in which it compiles. Those kernels are faster with 16-bit integers.
    """
    if bf16_pays(device):
        return "bf16"
    return "int16" if device.type == "cpu" and multiplies_pairs() else "fp32"


def bf16_pays(device: torch.device) -> bool:
    """Return whether the device multiplies in bfloat16 much faster than in float32."""
    if device.type == "cuda":
        with on_device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(device.type == "cpu" and _abilities().get("amx_bf16"))


def multiplies_pairs() -> bool:
    """Return whether the processor multiplies 16-bit integers, and adds up pairs of products, by one instruction."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def _abilities() -> dict[str, Any]:
    """Return what torch says of the processor; older versions have no such function."""
    abilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return abilities
