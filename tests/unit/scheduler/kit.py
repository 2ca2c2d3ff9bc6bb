"""What unit tests of the control loops share: a clock, and jobs and runs that are written straight to the database."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import JobInput, JobStatus
from nst_core.protocol.chunks import StyleRef, StylizeOptions
from nst_core.protocol.segments import StoredFile
from nst_core.training.config import TrainConfig
from scheduler.domain.jobs import Job, JobOutput, JobSpec
from scheduler.domain.runs import Run, RunSpec
from scheduler.store import chunks as chunk_rows
from scheduler.store import items as item_rows
from scheduler.store import jobs as job_rows
from scheduler.store import runs as run_rows
from scheduler.store import styles as style_rows
from scheduler.store.chunks import Chunk
from scheduler.store.database import Database
from scheduler.store.items import Item, NewItem
from scheduler.store.jobs import NewJob
from scheduler.store.styles import StyleRow

TENANT = "default"
STYLE = StyleRef(name="wave", version="a" * 64, weights="s3://nst/wave")


@dataclass
class ManualClock:
    """A clock that stands still until a test advances it."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let some time pass."""
        self.now += seconds


def add_job(
    database: Database, job_id: str = "job_1", *, items: int = 2, per_chunk: int = 2, tenant: str = TENANT, **new: Any
) -> str:
    """Add a planned job whose items wait in chunks, and return its id."""
    now = 1_800_000_000.0
    spec = JobSpec(
        input=JobInput(uris=tuple(f"s3://nst/in/{i}.jpg" for i in range(items))),
        output=JobOutput(prefix=f"s3://nst/{job_id}/"),
        styles=(STYLE,),
        options=new.pop("options", StylizeOptions()),
        max_failures=new.pop("max_failures", None),
        max_attempts=new.pop("max_attempts", 3),
    )
    planned = [
        NewItem(
            index=i,
            input=f"s3://nst/in/{i}.jpg",
            custom_id=None,
            mask=None,
            style=STYLE.name,
            version=STYLE.version,
            output=f"s3://nst/{job_id}/{i}.jpg",
        )
        for i in range(items)
    ]
    groups = [planned[start : start + per_chunk] for start in range(0, items, per_chunk)]
    with database.write() as connection:
        row = StyleRow(name=STYLE.name, version=STYLE.version, weights=STYLE.weights, card={"title": "wave"})
        style_rows.put_style(connection, row, now=now)
        job_rows.insert_job(connection, NewJob(id=job_id, tenant=tenant, spec=spec, fingerprint="", **new), now=now)
        item_rows.insert_planned(connection, job_id, groups, method="feedforward")
        job_rows.move_counts(connection, job_id, {ItemStatus.PENDING: items}, added=items)
        job_rows.update_job(connection, job_id, status=JobStatus.RUNNING, planned=True, planned_inputs=items)
    return job_id


def job_of(database: Database, job_id: str = "job_1") -> Job:
    """Return a job."""
    with database.read() as connection:
        found = job_rows.find_job(connection, job_id)
    assert found is not None
    return found


def items_of(database: Database, job_id: str = "job_1") -> list[Item]:
    """Return the items of a job in order."""
    with database.read() as connection:
        return item_rows.list_items(connection, job_id, limit=10_000)


def chunk_of(database: Database, chunk_id: int) -> Chunk:
    """Return a chunk."""
    with database.read() as connection:
        found = chunk_rows.find_chunk(connection, chunk_id)
    assert found is not None
    return found


def send_all(database: Database, job_id: str = "job_1", *, now: float, lease_s: float = 60.0) -> list[Chunk]:
    """Claim all waiting chunks of a job, as the dispatcher does, and return them as they are then."""
    sent = []
    with database.write() as connection:
        while (chunk := chunk_rows.next_chunk(connection, job_id, now=now)) is not None:
            chunk_rows.claim(connection, chunk, now=now, lease_s=lease_s)
            sent.append(chunk.id)
    return [chunk_of(database, id) for id in sent]


def add_run(database: Database, run_id: str = "run_1", *, tenant: str = TENANT, steps: int = 100, **spec: Any) -> str:
    """Add a queued run and return its id."""
    values: dict[str, Any] = {
        "painting": StoredFile(uri="s3://nst/painting.jpg", sha256="0" * 64),
        "painting_source": "s3://nst/painting.jpg",
        "photos": "s3://nst/photos/",
        "photo_count": 200,
        "held_out": 16,
        "preset": "standard",
        "stroke": 1.0,
        "strength": 1.0,
        "config": TrainConfig(steps=steps).to_dict(),
    }
    with database.write() as connection:
        run_rows.insert_run(
            connection, id=run_id, tenant=tenant, name="mine", spec=RunSpec(**(values | spec)), fingerprint="", now=1.0
        )
    return run_id


def run_of(database: Database, run_id: str = "run_1") -> Run:
    """Return a run."""
    with database.read() as connection:
        found = run_rows.find_run(connection, run_id)
    assert found is not None
    return found


def change(database: Database, update: Callable[..., None], id: str, **values: Any) -> None:
    """Call `update_job` or `update_run` in a transaction of its own."""
    with database.write() as connection:
        update(connection, id, **values)
