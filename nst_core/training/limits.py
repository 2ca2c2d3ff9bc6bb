"""What a queued training may take of a worker: memory, time for its painting, and loss networks. Never loads torch."""

from nst_core.errors import ConfigError
from nst_core.gatys.config import SERVED_NETWORKS
from nst_core.training.config import TrainConfig
from nst_core.training.costs import style_pixels, training_bytes

#: What a training may take of a worker's memory.
MAX_TRAINING_BYTES = 16 * 2**30
#: What a training may look at of its painting: each worker that takes it does, in some seconds a megapixel.
MAX_STYLE_PIXELS = 2**27


def check_limits(config: TrainConfig) -> None:
    """Raise ConfigError, with the field if it is one, for a training that workers cannot or should not take."""
    if config.network not in SERVED_NETWORKS:
        known = ", ".join(SERVED_NETWORKS)
        raise ConfigError(f"network must be one of {known}, not {config.network!r}.", field="network")
    needed = training_bytes(config)
    if needed > MAX_TRAINING_BYTES:
        raise ConfigError(
            f"The training would take about {needed / 2**30:,.1f} GiB of memory, and {MAX_TRAINING_BYTES / 2**30:.0f} "
            "are the most: choose a smaller batch_size, size_px, style_size_px or transformer.width."
        )
    pixels = style_pixels(config)
    if pixels > MAX_STYLE_PIXELS:
        name = "style_crops" if config.style_crops else "style_size_px"
        raise ConfigError(
            f"The training would look at {pixels / 1e6:,.0f} megapixels of its painting, and "
            f"{MAX_STYLE_PIXELS / 1e6:,.0f} are the most: choose a smaller {name}.",
            field=name,
        )
