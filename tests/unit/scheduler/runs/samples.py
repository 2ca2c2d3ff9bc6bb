"""A run for unit tests: it is being trained, and has a checkpoint."""

from nst_core.client.resources.runs import RunStatus
from nst_core.protocol.segments import Phase, StoredFile
from nst_core.training.config import TrainConfig
from scheduler.domain.runs import Run, RunSpec, SegmentState, Stop

FILE = StoredFile(uri="s3://nst/a", sha256="a" * 64)
SPEC = RunSpec(
    painting=FILE,
    painting_source="night.jpg",
    photos="s3://nst/photos/",
    photo_count=200,
    held_out=16,
    preset="standard",
    stroke=1.0,
    strength=1.0,
    config=TrainConfig(steps=100).to_dict(),
)
RUN = Run(
    id="run_1",
    tenant="default",
    name="night",
    status=RunStatus.RUNNING,
    spec=SPEC,
    step=40,
    steps=100,
    attempt=3,
    live=SegmentState.RUNNING,
    phase=Phase.TRAIN,
    claimed_at=1.0,
    lease_until=100.0,
    not_before=0.0,
    failures=0,
    worker="w1",
    progress={"step": 60, "losses": {"total": 1.0}, "steps_per_s": 2.0, "note": "compiling"},
    photos=None,
    config=None,
    checkpoint=FILE,
    result=None,
    version=None,
    stop=Stop.NONE,
    error_code=None,
    error_message=None,
    created_at=0.0,
    started_at=1.0,
    finished_at=None,
    train_seconds=0.0,
    untidy=False,
)
