"""How much memory a piece of work may take in this worker: of its machine, its control group or its GPU."""

import torch

from nst_core.gatys.config import GatysConfig
from nst_core.nets.costs import optimize_max_pixels
from nst_core.system import memory
from worker.settings import WorkerSettings

#: The share of the memory that a worker takes by default; the rest is the system's and other programs'.
_SHARE = 0.8
#: What the process has besides the work in hand: torch, loaded networks, decoded photos.
_REST_BYTES = 2**30
#: However small the machine is, a photo of a usual network with a longest side of 500 px is tried.
_LEAST_BYTES = 512 * 2**20


def work_bytes(settings: WorkerSettings, device: torch.device) -> int:
    """Return how many bytes a picture in a network, a training step or an iteration may take at most."""
    if device.type == "cuda":
        total = int(_SHARE * torch.cuda.get_device_properties(device).total_memory)
    else:
        total = settings.memory_bytes or int(_SHARE * memory.total_bytes())
    return max(_LEAST_BYTES, total - _REST_BYTES)


def optimize_pixels(settings: WorkerSettings, config: GatysConfig, device: torch.device) -> int:
    """Return how many pixels the result of an optimisation may have, and the style picture as it is used."""
    most = work_bytes(settings, device)
    return optimize_max_pixels(config, min(most, settings.max_optimize_bytes or most))
