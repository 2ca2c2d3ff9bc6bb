"""How much memory a piece of work may take in this worker."""

import torch

from nst_core.system import memory
from worker.settings import WorkerSettings

#: The share of the memory that a worker uses by default; the rest is for the system and other programs.
_SHARE = 0.8
#: What the process needs in addition to the work itself: torch, loaded networks, decoded photos.
_REST_BYTES = 2**30
#: The least that is assumed, so that even the smallest machine tries a photo of 500 px in a usual network.
_LEAST_BYTES = 512 * 2**20


def work_bytes(settings: WorkerSettings, device: torch.device) -> int:
    """Return how many bytes one photo in a network, one training step or one iteration may take.

    The memory is that of the GPU, or of the machine or the control group.
    """
    if device.type == "cuda":
        total = int(_SHARE * torch.cuda.get_device_properties(device).total_memory)
    else:
        total = settings.memory_bytes or int(_SHARE * memory.total_bytes())
    return max(_LEAST_BYTES, total - _REST_BYTES)


def optimize_bytes(settings: WorkerSettings, device: torch.device) -> int:
    """Return how many bytes one optimisation may take."""
    most = work_bytes(settings, device)
    return min(most, settings.max_optimize_bytes or most)
