"""Reads a cluster's database directly, without the scheduler, and counts commits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, create_engine, text

_TERMINAL = "('succeeded', 'failed', 'cancelled')"
_TABLE = "CREATE TABLE fault_commits (job_id TEXT, position BIGINT, before_it TEXT, after_it TEXT)"
_INSERT = "INSERT INTO fault_commits VALUES (NEW.job_id, NEW.position, OLD.status, NEW.status)"
_WHEN = f"WHEN (NEW.status IN {_TERMINAL} OR OLD.status IN {_TERMINAL})"
_SQLITE = (f"CREATE TRIGGER fault_commit AFTER UPDATE OF status ON items {_WHEN} BEGIN {_INSERT}; END",)
_POSTGRES = (
    f"CREATE FUNCTION fault_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {_INSERT}; RETURN NULL; END $$",
    f"CREATE TRIGGER fault_commit AFTER UPDATE OF status ON items FOR EACH ROW {_WHEN} EXECUTE FUNCTION fault_commit()",
)


@dataclass(frozen=True, kw_only=True)
class ChunkState:
    """The state of a chunk, and the worker that has it."""

    status: str
    attempt: int
    worker: str | None


@dataclass(frozen=True, kw_only=True)
class JobState:
    """The state of a job."""

    status: str
    total: int
    done: int


class Observer:
    """Reads a database. Every call may raise SQLAlchemy's errors while the database is down."""

    def __init__(self, url: str) -> None:
        """Start to count how often each item becomes terminal, or stops being terminal."""
        self._engine = create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
        statements = _SQLITE if self._engine.dialect.name == "sqlite" else _POSTGRES
        with self._engine.connect() as connection:
            for statement in (_TABLE, *statements):
                connection.exec_driver_sql(statement)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def job(self, job_id: str) -> JobState:
        """Return the state of a job."""
        query = text("SELECT status, total, succeeded + failed + cancelled AS done FROM jobs WHERE id = :id")
        with self._engine.connect() as connection:
            row = connection.execute(query, {"id": job_id}).one()
        return JobState(status=row.status, total=row.total, done=row.done)

    def jobs(self) -> int:
        """Return how many jobs there are."""
        with self._engine.connect() as connection:
            return int(connection.execute(text("SELECT count(*) FROM jobs")).scalar_one())

    def in_flight(self, job_id: str) -> dict[int, ChunkState]:
        """Return the chunks of a job that are in Redis or held by workers."""
        query = "SELECT id, status, attempt, worker FROM chunks WHERE job_id = :id AND status IN (:sent, :begun)"
        with self._engine.connect() as connection:
            return _chunks(connection, query, {"id": job_id, "sent": "dispatched", "begun": "running"})

    def chunks(self, ids: Iterable[int]) -> dict[int, ChunkState]:
        """Return chunks by id."""
        wanted = ", ".join(str(id) for id in ids) or "0"
        with self._engine.connect() as connection:
            return _chunks(connection, f"SELECT id, status, attempt, worker FROM chunks WHERE id IN ({wanted})", {})

    def held_by(self, job_id: str, pid: int) -> int:
        """Return how many chunks of a job the worker with a process id has, according to the database."""
        return sum(str(chunk.worker).startswith(f"{pid}-") for chunk in self.in_flight(job_id).values())

    def commits(self, job_id: str) -> dict[int, int]:
        """Return how often each item of a job was committed."""
        query = text("SELECT position, count(*) AS times FROM fault_commits WHERE job_id = :id GROUP BY position")
        with self._engine.connect() as connection:
            return {row.position: row.times for row in connection.execute(query, {"id": job_id})}


def _chunks(connection: Connection, query: str, values: Mapping[str, str]) -> dict[int, ChunkState]:
    rows = connection.execute(text(query), dict(values))
    return {row.id: ChunkState(status=row.status, attempt=row.attempt, worker=row.worker) for row in rows}
