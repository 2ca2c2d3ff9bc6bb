"""The parts of a scheduler that runs need, ticked by hand. The test plays the workers on the real Redis and storage."""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from nst_core.protocol.events import (
    PhotoReport,
    Result,
    SegmentEvent,
    SegmentFailure,
    SegmentFinished,
    SegmentProgress,
    SegmentStarted,
    TrainProgress,
)
from nst_core.protocol.segments import (
    TRAIN_TASK,
    Phase,
    StoredFile,
    TrainSegment,
    load_segment,
    losses_uri,
    result_uri,
    segment_checkpoint_uri,
)
from nst_core.storage.blobs import BlobUri
from nst_core.training.config import TrainConfig
from nst_core.training.curve import dump_losses
from nst_core.training.step_losses import StepLosses
from scheduler.domain.runs import Run, RunSpec, place_key
from scheduler.runs.control import RunControl, RunLimits
from scheduler.runs.finish import RunFinisher
from scheduler.runs.tidy import RunTidier
from scheduler.store import runs as run_rows
from scheduler.store import segments as segment_rows
from tests.integration.conftest import TENANT, Rig
from tests.shipped import shipped_style

DISPATCH_LEASE_S, LOST_AFTER_S = 3600.0, 5.0
PAINTING = StoredFile(uri="s3://nst/painting.jpg", sha256="0" * 64)


@dataclass
class RunRig:
    """Run control, finisher and tidier on top of a rig."""

    rig: Rig
    max_concurrent: int = 1
    control: RunControl = field(init=False)

    def __post_init__(self) -> None:
        rig = self.rig
        limits = RunLimits(
            max_concurrent=self.max_concurrent,
            dispatch_lease_s=DISPATCH_LEASE_S,
            lost_after_s=LOST_AFTER_S,
            segment_s=7.0,
        )
        self.control = RunControl(rig.database, rig.broker, clock=rig.clock, bucket=rig.blobs.bucket, limits=limits)
        self.finisher = RunFinisher(rig.database, rig.blobs, clock=rig.clock, timer=rig.clock)
        self.tidier = RunTidier(rig.database, rig.blobs, clock=rig.clock, timer=rig.clock)

    def add(self, *, steps: int = 100, name: str = "mine", tenant: str = TENANT, **changes: Any) -> str:
        """Add a run as the service does, but without checks, and return its id."""
        self.rig.clock.advance(0.01)
        run_id = f"run_{self.rig.prefix}_{int(self.rig.clock() * 1000):013d}"
        values: dict[str, Any] = {
            "painting": PAINTING,
            "painting_source": PAINTING.uri,
            "photos": f"s3://nst/{self.rig.prefix}/photos/",
            "photo_count": 200,
            "held_out": 16,
            "preset": "standard",
            "stroke": 1.0,
            "strength": 1.0,
            "config": TrainConfig(steps=steps).to_dict(),
        }
        with self.rig.database.write() as connection:
            run_rows.insert_run(
                connection,
                id=run_id,
                tenant=tenant,
                name=name,
                spec=RunSpec(**(values | changes)),
                fingerprint="",
                now=self.rig.clock(),
            )
        return run_id

    def run(self, run_id: str) -> Run:
        """Return a run."""
        with self.rig.database.read() as connection:
            found = run_rows.find_run(connection, run_id)
        assert found is not None
        return found

    def steps_kept(self, run_id: str) -> list[int]:
        """Return the steps whose checkpoints are kept."""
        with self.rig.database.read() as connection:
            return [each.to_step for each in segment_rows.kept_checkpoints(connection, [run_id])[run_id]]

    def change(self, run_id: str, **values: Any) -> None:
        """Set columns of a run."""
        with self.rig.database.write() as connection:
            run_rows.update_run(connection, run_id, **values)

    def tick(self) -> None:
        """Run one turn of the dispatch loop."""
        if not self.control.has_runs():
            return
        self.control.announce()
        self.control.reap()
        self.control.dispatch()

    def take(self) -> TrainSegment | None:
        """Take a segment from the queue, as a worker does."""
        values = self.rig.broker.take(TRAIN_TASK)
        return None if values is None else load_segment(values)

    def next(self) -> TrainSegment:
        """Run one turn of the dispatch loop, and take the only segment in the queue."""
        self.tick()
        segment = self.take()
        assert segment is not None
        assert self.take() is None
        return segment

    def put(self, uri: str, data: bytes) -> StoredFile:
        """Put an object into storage."""
        self.rig.blobs.put(BlobUri.parse(uri), data)
        return StoredFile(uri=uri, sha256=hashlib.sha256(data).hexdigest())

    def trained(self, segment: TrainSegment, step: int, *, nonce: str = "n", **changes: Any) -> SegmentFinished:
        """Store a checkpoint for a step, and return the event of a worker that trained to that step."""
        uri = segment_checkpoint_uri(segment, step=step, nonce=nonce)
        checkpoint = self.put(uri, f"checkpoint {step} of {segment.attempt} {nonce}".encode())
        before = self.run(segment.run_id).step
        lines = dump_losses(
            StepLosses(step=each, content=2.0, style=1.0, tv=0.5) for each in range(before + 1, step + 1)
        )
        values: dict[str, Any] = {
            "step": step,
            "seconds": 7.5,
            "checkpoint": checkpoint,
            "losses": self.put(losses_uri(segment, nonce=nonce), lines).uri,
            "config": segment.config | {"content_weight": 1.5},
            "photos": PhotoReport(count=184, held_out=16),
            "progress": TrainProgress(step=step, losses={"content": 2.0, "total": 3.5}, steps_per_s=2.0),
        }
        return SegmentFinished(run_id=segment.run_id, attempt=segment.attempt, worker="w1", **(values | changes))

    def evaluated(self, segment: TrainSegment, *, style: str = "udnie", nonce: str = "n") -> SegmentFinished:
        """Return the event of a worker that evaluated a run. Its weights are those of a shipped style."""
        assert segment.phase is Phase.EVALUATE
        data = shipped_style(style).weights()
        weights = self.put(result_uri(segment, nonce=nonce, suffix="safetensors"), data)
        sheet = self.put(result_uri(segment, nonce=nonce, suffix="jpg"), b"sheet").uri
        return finished(
            segment,
            step=self.run(segment.run_id).step,
            result=Result(weights=weights, sheet=sheet, evaluation={"ssim": 0.5, "remarks": []}),
        )

    def report(self, *events: SegmentEvent) -> None:
        """Publish events and let the collector read them."""
        self.rig.report(*events)

    def train_to(self, run_id: str, *steps: int) -> None:
        """Let a well-behaved worker end a segment after each of the steps."""
        for step in steps:
            segment = self.next()
            assert segment.run_id == run_id
            self.report(begun(segment), self.trained(segment, step))

    def finish(self, run_id: str, *, style: str = "udnie") -> None:
        """Let a well-behaved worker finish the run in one segment."""
        run = self.run(run_id)
        if not run.has_all_steps:
            self.train_to(run_id, run.steps)
        segment = self.next()
        self.report(begun(segment), self.evaluated(segment, style=style))
        self.finisher.tick()

    def stored(self, run_id: str, folder: str = "") -> list[str]:
        """Return the names of the objects in a folder of a run's place."""
        prefix = BlobUri("nst", place_key(self.run(run_id).tenant, run_id) + folder)
        return [key.removeprefix(prefix.key) for key in self.rig.blobs.list_keys(prefix)]


def begun(segment: TrainSegment, worker: str = "w1") -> SegmentStarted:
    """Return the event of a worker that begins a segment."""
    return SegmentStarted(run_id=segment.run_id, attempt=segment.attempt, worker=worker)


def going(segment: TrainSegment, step: int | None = None, **more: Any) -> SegmentProgress:
    """Return the event of a worker that is still working on a segment."""
    progress = None if step is None else TrainProgress(step=step, **more)
    return SegmentProgress(run_id=segment.run_id, attempt=segment.attempt, progress=progress)


def finished(segment: TrainSegment, *, step: int = 0, **more: Any) -> SegmentFinished:
    """Return the event of a worker that has finished a segment."""
    return SegmentFinished(run_id=segment.run_id, attempt=segment.attempt, worker="w1", step=step, seconds=1.0, **more)


def broken(segment: TrainSegment, *, retryable: bool, code: str = "engine_failed") -> SegmentFinished:
    """Return the event of a worker that failed at a segment."""
    return finished(segment, failure=SegmentFailure(code=code, message="It broke.", retryable=retryable))
