"""Settings of a worker process, read once from `NST_*` variables at its start."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from nst_core.images import MAX_PHOTO_PIXELS
from nst_core.settings import READING, BrokerSettings, LogSettings, MetricsSettings, StorageSettings
from nst_core.system.files import cache_folder


class WorkerSettings(BrokerSettings, StorageSettings, MetricsSettings, LogSettings):
    """Where a worker gets its work from, and how much of the machine it may use."""

    model_config = READING

    #: NST_DEVICE: auto, cpu, cuda, cuda:1.
    device: str = "auto"
    #: Let GPUs round the inputs of float32 convolutions to TF32 (10 bits): faster, but "exact" is no longer exact.
    tf32: bool = False
    #: The engine that runs styles: auto, or a name in `nst_core.inference.engines.ENGINES`.
    engine: str = "auto"
    #: The precision of that engine.
    precision: Literal["auto", "fp32", "int16", "bf16", "fp16", "int8"] = "auto"
    #: Threads per image on a CPU; empty means torch's default, one per core.
    threads: int | None = Field(default=None, ge=1)
    #: Chunks in flight; 0 takes none. With two, the first photos of one chunk are read while the last photos of the
    #: other are stylized.
    concurrency: int = Field(default=2, ge=0)
    #: Optimisations in flight in addition; 0 takes none. Iterations and images take turns.
    optimize_concurrency: int = Field(default=1, ge=0)
    #: Training segments in flight in addition; 0 takes none. Steps and images take turns.
    train_concurrency: int = Field(default=1, ge=0)
    #: Seconds between two reports on a training, in which the worker also asks whether it should pause.
    train_progress_s: float = Field(default=2.0, gt=0)
    #: Compile trainings, which takes a minute at the start and makes all later steps faster.
    train_compile: bool = True
    #: Seconds that a training stays in memory for its next segment. After that, the segment loads it again.
    train_keep_s: float = Field(default=300.0, ge=0)
    #: Trainings that stay in memory for their next segment; the one used least recently makes room for another.
    train_kept: int = Field(default=4, ge=0)
    #: Folder for training photos, with one subfolder per worker. It should be faster than the storage.
    cache_dir: Path = Field(default_factory=cache_folder)
    #: Bytes that the photos of one worker may take in that folder.
    cache_max_bytes: int = Field(default=2 << 30, ge=0)
    #: Images of one chunk in flight, from the download to the upload; raise it if the storage is slow to answer.
    lookahead: int = Field(default=8, ge=1)
    #: Bytes of files that are read ahead, for all chunks together; a larger file is read alone.
    lookahead_bytes: int = Field(default=256 << 20, ge=1)
    #: Pixels of photos that are decoded and whose results are not yet in storage, for all chunks together; each takes
    #: about 10 bytes of memory. A larger photo waits until it is alone.
    pixels_ahead: int = Field(default=50_000_000, ge=1)
    #: Bytes of memory for networks that stay loaded.
    cache_bytes: int = Field(default=512 << 20, ge=0)
    #: The most pixels that a photo may have before it is scaled down to the job's max_px.
    max_pixels: int = Field(default=MAX_PHOTO_PIXELS, ge=1)
    #: Bytes of memory that this worker may use; empty means 80 % of the machine's or of its control group's. Larger
    #: photos go through the network in strips, and optimisations in tiles. What still does not fit is refused; a
    #: training is tried again later, because another worker may be larger.
    memory_bytes: int | None = Field(default=None, ge=1)
    #: The most pixels of a photo after that; empty means as many as fit into the memory. What is too large for the
    #: network as a whole goes through it in strips, which need less memory.
    max_network_pixels: int | None = Field(default=None, ge=1)
    #: Bytes of memory for one optimisation, which needs about 3.6 GB per million pixels; null means the limit of the
    #: worker.
    max_optimize_bytes: int | None = Field(default=8_000_000_000, ge=1)
    #: Seconds between two checkpoints of an optimisation, from which another worker can continue.
    checkpoint_s: float = Field(default=30.0, gt=0)
    #: The most bytes of a photo's file; the scheduler takes uploads of as many.
    max_input_bytes: int = Field(default=200 * 2**20, ge=1)
    #: Seconds between two heartbeats, which renew the lease of a chunk or a segment.
    heartbeat_s: float = Field(default=3.0, gt=0)
    #: Seconds between two reports on a chunk, in which the worker also asks whether the job was cancelled.
    progress_s: float = Field(default=1.0, gt=0)
    #: A worker is stuck, and ends so that its supervisor restarts it, if no image or iteration, and no strip or tile of
    #: a large one, is completed within this many seconds. So this is also the longest time that one of them may take.
    stuck_after_s: float = Field(default=600.0, gt=0)
    #: A worker that fails its self-test for this many seconds ends as well.
    ill_after_s: float = Field(default=10.0, gt=0)
    #: Seconds that a worker waits for a storage that does not answer. Then it returns its work and ends; after the
    #: restart it waits without a limit. No image fails because of an outage.
    outage_s: float = Field(default=120.0, gt=0)

    @model_validator(mode="after")
    def _accepts_work(self) -> Self:
        if not (self.concurrency or self.optimize_concurrency or self.train_concurrency):
            raise ValueError(
                "a worker whose NST_CONCURRENCY, NST_OPTIMIZE_CONCURRENCY and NST_TRAIN_CONCURRENCY are 0 takes nothing"
            )
        return self
