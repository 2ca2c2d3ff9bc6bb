"""A PostgreSQL database that was dumped and restored, with the commands of deploy/operations.md."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nst_core.queue.connection import make_redis
from nst_core.settings import BrokerSettings
from scheduler.domain.jobs import RESULTS_NAME
from scheduler.store.database import Database
from tests.integration.conftest import TENANT, Rig, finished, named, progress, read_lines, run_statement, started
from tests.postgres import find_postgres

PAGE = Path(__file__).parents[2] / "deploy" / "operations.md"


@dataclass
class Commands:
    """Runs the shell commands of the page that begin with a word."""

    folder: Path
    env: dict[str, str]

    def run(self, word: str) -> None:
        """Run a command; fail if the page has no such command, or if it fails."""
        lines = re.findall(rf"^ *({word} --.*?)(?: +# .*)?$", PAGE.read_text(), re.MULTILINE)
        assert lines, word
        subprocess.run(["sh", "-euc", lines[0]], cwd=self.folder, env=self.env, check=True)


@pytest.fixture
def commands(postgres_server: str, database_url: str, tmp_path: Path) -> Iterator[Commands]:
    programs = find_postgres()
    assert programs is not None
    path = f"{(programs / 'initdb').resolve().parent}:{os.environ['PATH']}"
    plain = postgres_server.replace("+psycopg", "")
    yield Commands(
        tmp_path, os.environ | {"PATH": path, "SERVER": plain, "DATABASE": database_url.replace("+psycopg", "")}
    )
    run_statement(postgres_server, "DROP DATABASE IF EXISTS nst WITH (FORCE)")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_restored_database_continues_its_jobs_and_keeps_what_was_done(
    rig: Rig, redis_server: BrokerSettings, postgres_server: str, commands: Commands
) -> None:
    ended, half, untouched = rig.submit(2), rig.submit(8), rig.submit(3)
    rig.plan()
    rig.dispatcher.tick()
    chunks = {chunk.chunk_id: chunk for chunk in rig.take_all()}
    first, second = (next(chunk for chunk in chunks.values() if chunk.job_id == job) for job in (ended, half))
    rig.report(started(first), finished(first), started(second), progress(second, second.items[0].index))
    rig.finalizer.tick()
    before = {job: rig.service.items(TENANT, job, limit=100, after=-1) for job in (ended, half, untouched)}

    commands.run("pg_dump")
    # More is done after the dump, which is lost with the database.
    rig.report(finished(second))
    rig.submit(1)
    commands.run("createdb")
    commands.env["DATABASE"] = named(commands.env["SERVER"], "nst")
    commands.run("pg_restore")
    client = make_redis(redis_server)
    client.flushdb()
    client.close()

    restored = Database(named(postgres_server, "nst"), clock=rig.clock)
    restored.migrate()
    other = Rig(restored, rig.broker, rig.blobs, rig.clock, rig.prefix)
    assert {job: other.service.items(TENANT, job, limit=100, after=-1) for job in before} == before
    rig.clock.advance(1000)
    other.run_to_end()
    while other.finalizer.tick():
        pass
    for job_id, items in before.items():
        job = other.job(job_id)
        assert job.status == "succeeded"
        kept = {item.index: item.attempt for item in items if item.status == "succeeded"}
        now = other.service.items(TENANT, job_id, limit=100, after=-1)
        assert {item.index: item.attempt for item in now if item.index in kept} == kept, "not done again"
        assert len(read_lines(other, job, RESULTS_NAME)) == job.counts.total
    restored.close()
