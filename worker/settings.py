"""Settings of a worker process, read from `NST_*` variables once, at its start."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import SettingsConfigDict

from nst_core.settings import BrokerSettings, StorageSettings
from nst_core.system.files import cache_folder


class WorkerSettings(BrokerSettings, StorageSettings):
    """Where a worker finds its work, and how much of the machine it takes."""

    model_config = SettingsConfigDict(env_prefix="NST_", frozen=True, hide_input_in_errors=True)

    #: NST_DEVICE: auto, cpu, cuda, cuda:1.
    device: str = "auto"
    #: Let GPUs round the inputs of float32 convolutions to TF32, of 10 bits: faster, and "exact" is not exact then.
    tf32: bool = False
    #: Threads that one image is spread over on a CPU; empty: torch's own choice, one a core.
    threads: int | None = Field(default=None, ge=1)
    #: Chunks in flight, 0 to take none. Two, so that one chunk's first photos are read while the last of the other
    #: are stylized.
    concurrency: int = Field(default=2, ge=0)
    #: Optimisations in flight besides, 0 to take none: iterations and images take turns.
    optimize_concurrency: int = Field(default=1, ge=0)
    #: Segments of trainings in flight besides, 0 to take none: steps and images take turns.
    train_concurrency: int = Field(default=1, ge=0)
    #: Losses and speed of trainings are told, and a pause is asked for, at most this often.
    train_progress_s: float = Field(default=2.0, gt=0)
    #: Compile trainings, which takes a minute at their start and makes them faster ever after.
    train_compile: bool = True
    #: A training whose next segment does not come within this time is let go; the next one begins anew then.
    train_keep_s: float = Field(default=300.0, ge=0)
    #: So many trainings are kept for their next segment; the one that was trained longest ago makes room for another.
    train_kept: int = Field(default=4, ge=0)
    #: Where training photos are kept, each worker's in a folder of its own; another place is faster than the storage.
    cache_dir: Path = Field(default_factory=cache_folder)
    #: Bytes that the photos of one worker may take there.
    cache_max_bytes: int = Field(default=2 << 30, ge=0)
    #: Images of one chunk in flight, from the download to the upload; raise it where the storage is far away.
    lookahead: int = Field(default=8, ge=1)
    #: Bytes of files that are read ahead, of all chunks together; a larger file is read alone.
    lookahead_bytes: int = Field(default=256 << 20, ge=1)
    #: Those of them that may be held as pixels before the network: one in it, one ready, one being decoded.
    decoded_ahead: int = Field(default=3, ge=1)
    #: Bytes of networks that stay loaded.
    cache_bytes: int = Field(default=512 << 20, ge=0)
    #: Pixels that a photo may have before it is scaled down to the job's max_px.
    max_pixels: int = Field(default=50_000_000, ge=1)
    #: Bytes of memory that this worker may take; empty: 80 % of its machine's or of its control group's. Photos,
    #: optimisations and trainings that need more are refused.
    memory_bytes: int | None = Field(default=None, ge=1)
    #: Pixels that the network takes at once; empty: as many as the memory is enough for.
    max_network_pixels: int | None = Field(default=None, ge=1)
    #: Bytes of memory that an optimisation may take, about 4 GB for a million pixels; empty: as many as there are.
    max_optimize_bytes: int | None = Field(default=8_000_000_000, ge=1)
    #: An optimisation is saved this often, so that another worker can go on with it.
    checkpoint_s: float = Field(default=30.0, gt=0)
    #: Bytes that a photo's file may have.
    max_input_bytes: int = Field(default=200_000_000, ge=1)
    #: A chunk's lease is renewed at least this often.
    heartbeat_s: float = Field(default=3.0, gt=0)
    #: Outcomes are told, and cancellation is asked for, at most this often.
    progress_s: float = Field(default=1.0, gt=0)
    #: A worker in which no image and no iteration ends for so long is stuck: it ends, for its supervisor to start it
    #: anew. An image may take that long at most.
    stuck_after_s: float = Field(default=600.0, gt=0)
    #: A worker that cannot make the smallest image for so long is ill: it ends as well.
    ill_after_s: float = Field(default=10.0, gt=0)
    #: A worker waits this long for a storage that does not answer. Then it gives its work back and ends; its next
    #: start waits as long as it takes. No image fails of an outage.
    outage_s: float = Field(default=120.0, gt=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="after")
    def _takes_something(self) -> Self:
        if not (self.concurrency or self.optimize_concurrency or self.train_concurrency):
            raise ValueError(
                "a worker whose NST_CONCURRENCY, NST_OPTIMIZE_CONCURRENCY and NST_TRAIN_CONCURRENCY are 0 takes nothing"
            )
        return self
