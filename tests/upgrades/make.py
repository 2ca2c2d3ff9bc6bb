"""Makes the fixture of a release, with that release's own code.

git worktree add --detach ../release COMMIT
cd ../release && PYTHONPATH=. python ../nst/tests/upgrades/make.py ../nst/tests/data/upgrades

The present files are those of the commit before there were container images.

Runs a real stack until jobs, trainings, keys and webhooks are in all states, and writes: the database as SQL for SQLite
and PostgreSQL, what the API said of it, and messages as they are in Redis.
"""

import gzip
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import chain
from pathlib import Path
from typing import Any

import redis
from pydantic import TypeAdapter
from sqlalchemy import Integer, create_engine, insert, select, text

from nst_core import __version__
from nst_core.client import Client
from nst_core.client.resources.jobs import JobInput, JobRequest, Output
from nst_core.client.resources.methods import Optimize
from nst_core.client.resources.runs import RunStatus, TrainRequest
from nst_core.protocol.chunks import OptimizeChunk, StylizeChunk
from nst_core.protocol.events import _TYPES, dump_event
from nst_core.protocol.segments import TrainSegment
from nst_core.queue.connection import queue_lists
from scheduler.local.embedded import Stack
from scheduler.local.servers import HOST, free_port
from scheduler.store.database import Database
from scheduler.store.tables import metadata
from tests.faults.harness import upload
from tests.faults.training import ENV, OPTIONS
from tests.photos import small_photos
from tests.postgres import find_postgres, run_postgres
from tests.unit.nst_core.protocol.test_events import EVENTS

#: Only for these tests.
MESSAGE_SECRET = "the-secret-of-the-upgrade-tests-" * 2
SETTINGS = ENV | {
    "NST_CHUNK_SIZE": "2",
    "NST_CHUNK_S": "3",
    "NST_PROGRESS_S": "0.1",
    "NST_WEBHOOK_ALLOW_HTTP": "true",
    "NST_WEBHOOK_ALLOWED_NETWORKS": '["127.0.0.0/8"]',
    "NST_DISPATCH_LEASE_S": "3600",
}
QUEUES = ("nst.stylize", "nst.optimize", "nst.train")


def main(target: Path) -> None:
    """Write the files of the fixture."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir(mode=0o700)
        (home / "message_secret").write_text(MESSAGE_SECRET + "\n")
        with _receiver() as url:
            with Stack(home, workers=1, env=SETTINGS) as stack, stack.client() as client:
                scene = Scene(client, url)
                scene.play()
            with Stack(home, workers=0, env=SETTINGS) as stack, stack.client() as client:
                scene.wait_for_a_worker(client)
                time.sleep(5)  # all that can be sent without a worker is sent
                secrets = {"api_key": stack.api_key, "webhook_key": stack.home.webhook_key()}
                answers = {"nst": __version__, "now": time.time(), **secrets, **_answers(client)}
                messages = _messages(stack)
        _write(target / "answers.json", answers)
        _write(target / "messages.json", messages)
        _dump(home / "nst.db", target, Path(folder))
    print({path.name: path.stat().st_size for path in target.iterdir()})


class Scene:
    """Brings jobs, trainings, keys, tenants and webhooks into all states."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url

    def play(self) -> None:
        """Return when everything is in its state."""
        client = self._client
        client.webhooks.create(f"{self._url}/", types=("job.completed", "run.completed"), description="it answers")
        client.webhooks.create(
            f"http://{HOST}:{free_port()}/", types=("job.completed",), description="it never answers"
        )
        client.webhooks.update(client.webhooks.create(f"{self._url}/").id, enabled=False)
        self._keys()
        photos = small_photos(3, side_px=48)
        uris = upload(client, photos)
        (painting,) = upload(client, {"painting.png": small_photos(2, side_px=96)["coffee_001.png"]})
        self._jobs(uris, painting)
        self._runs(painting)

    def _keys(self) -> None:
        client, soon = self._client, datetime.now(UTC) + timedelta(days=3650)
        client.tenants.put("lab", weight=2.5, read=["s3://nst/photos/"], limits={"max_unfinished_jobs": 7})
        client.keys.create("lab", ["jobs:read", "jobs:write"], tenant="lab", expires_at=soon)
        client.keys.revoke(client.keys.create("revoked", ["jobs:read"]).id)
        client.keys.rotate(client.keys.create("rotated", ["jobs:read"]).id, overlap_s=3600)

    def _jobs(self, uris: list[str], painting: str) -> None:
        client, place = self._client, JobInput(uris=tuple(uris))
        request = JobRequest(
            input=place,
            styles=("great_wave", "udnie:0.5,the_scream:0.5"),
            output=Output(format="png", max_px=32),
            metadata={"project": "winter", "ü": "é"},
            stroke=2.0,
            faces="protect",
        )
        first = client.put("my-job", request)
        folder = uris[0].rpartition("/")[0]
        missing = JobInput(uris=(uris[0], f"{folder}/missing.jpg"))
        second = client.submit(JobRequest(input=missing, styles=("udnie",)), idempotency_key="once")
        third = client.submit(
            JobRequest(
                method="optimize",
                input=JobInput(uris=(uris[0],)),
                paintings=(painting,),
                optimize=Optimize(options={"iterations": 5, "size_px": 32}, preview_every=2),
            )
        )
        for job, status in ((first, "succeeded"), (second, "partially_succeeded"), (third, "succeeded")):
            assert client.wait(job.id, timeout_s=600).status == status
        waiting = JobInput(uris=tuple(f"{folder}/missing-{number}.jpg" for number in range(6)))
        for act in (client.pause, client.cancel):
            act(client.submit(JobRequest(input=waiting, styles=("udnie",), priority="low")).id)

    def _runs(self, painting: str) -> None:
        client = self._client
        photos = upload(client, small_photos(12, side_px=80))
        request = TrainRequest(
            name="tiny",
            painting=painting,
            data=photos[0].rpartition("/")[0] + "/",
            preset="paper",
            steps=6,
            options=OPTIONS,
            initial="none",
            held_out=2,
            exact=True,
        )
        run = client.runs.wait(client.runs.train(request).id, timeout_s=900)
        assert run.status is RunStatus.SUCCEEDED, run.error
        cancelled = client.runs.train(request.model_copy(update={"name": "never", "steps": 100_000}))
        client.runs.cancel(cancelled.id)
        paused = client.runs.train(request.model_copy(update={"name": "later", "steps": 100_000}))
        while client.runs.get(paused.id).step == 0:
            time.sleep(0.05)
        client.runs.pause(paused.id)
        while client.runs.get(paused.id).status is not RunStatus.PAUSED:
            time.sleep(0.05)
        self._unfinished(photos, painting, request)

    def _unfinished(self, photos: list[str], painting: str, request: TrainRequest) -> None:
        """Leave a job that has begun."""
        client, place = self._client, JobInput(uris=tuple(upload(self._client, small_photos(8, side_px=400))))
        begun = client.submit(JobRequest(input=place, styles=("great_wave", "udnie", "the_scream")))
        while not client.job(begun.id).counts.succeeded:
            time.sleep(0.05)
        self._later = (photos[0], painting, request)

    def wait_for_a_worker(self, client: Client) -> None:
        """Submit a job and a training that nobody begins."""
        photo, painting, request = self._later
        client.submit(
            JobRequest(method="optimize", input=JobInput(uris=(photo,)), paintings=(painting,), priority="high")
        )
        client.runs.train(request.model_copy(update={"name": "next"}))


def _answers(client: Client) -> dict[str, Any]:
    """Return what the API says of everything."""
    jobs, runs, webhooks = list(client.jobs()), list(client.runs.all()), list(client.webhooks.all())
    found = {
        "jobs": jobs,
        "items": {job.id: list(client.items(job.id)) for job in jobs},
        "runs": runs,
        "keys": [*client.keys.all(), *client.keys.all(tenant="lab")],
        "tenants": list(client.tenants.all()),
        "webhooks": webhooks,
        "deliveries": {each.id: list(client.webhooks.deliveries(each.id)) for each in webhooks},
        "uploads": list(client.uploads()),
        "styles": [style for style in client.styles() if style.name == "tiny"],
        "usage": client.tenants.own().usage,
    }
    plain: dict[str, Any] = TypeAdapter(Any).dump_python(found, mode="json")
    return plain


def _messages(stack: Stack) -> dict[str, Any]:
    """Return messages as they are in Redis, events, and the schemas of what this release reads."""
    address = stack.addresses.broker.redis_url.get_secret_value()
    with closing(redis.Redis.from_url(address)) as server:
        queues = {
            queue: [json.loads(each) for each in chain(*(server.lrange(key, 0, -1) for key in queue_lists(queue)))]
            for queue in QUEUES
        }
    assert all(queues.values()), "each queue has a message"
    classes = {StylizeChunk.queue: StylizeChunk, OptimizeChunk.queue: OptimizeChunk, "nst.train": TrainSegment}
    return {
        "secret": MESSAGE_SECRET,
        "queues": queues,
        "events": [dump_event(event).decode() for event in EVENTS],
        "message_schemas": {queue: TypeAdapter(cls).json_schema() for queue, cls in classes.items()},
        "event_schemas": {name: TypeAdapter(cls).json_schema() for name, cls in _TYPES.items()},
    }


def _dump(database: Path, target: Path, scratch: Path) -> None:
    """Write the database as SQL, for SQLite and for PostgreSQL."""
    url = f"sqlite:///{database}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        # Each start publishes the styles of the package again, and their cards are long.
        for table in ("styles", "style_cards"):
            connection.execute(text(f"DELETE FROM {table} WHERE tenant = '' AND name != 'great_wave'"))
        connection.execute(text("DELETE FROM style_versions WHERE version NOT IN (SELECT version FROM style_cards)"))
        driver: Any = connection.connection.driver_connection
        _write(target / "sqlite.sql.gz", "\n".join(driver.iterdump()) + "\n")
        rows = {table: connection.execute(select(table)).mappings().all() for table in metadata.sorted_tables}
    engine.dispose()
    with run_postgres(scratch / "postgres") as address:
        new = Database(address)
        new.migrate()
        with new.engine.begin() as connection:
            for each, values in rows.items():
                if values:
                    connection.execute(insert(each), [dict(row) for row in values])
                if each.c.get("id") is not None and isinstance(each.c.id.type, Integer):
                    statement = f"SELECT setval('{each.name}_id_seq', (SELECT max(id) FROM {each.name}))"
                    connection.execute(text(statement))
        new.close()
        programs = find_postgres()
        assert programs is not None
        program = (programs / "initdb").resolve().with_name("pg_dump")
        command = [str(program), "--no-owner", "--inserts", address.replace("+psycopg", "")]
        dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # Comments name the version of the server; lines with a backslash are for psql alone.
    lines = [line for line in dump.splitlines() if line and not line.startswith(("--", "\\"))]
    _write(target / "postgresql.sql.gz", "\n".join(lines) + "\n")


def _write(path: Path, content: Any) -> None:
    if isinstance(content, str):
        path.write_bytes(gzip.compress(content.encode(), mtime=0))
    else:
        # A line for each name, so that a change of the fixture can be read.
        lines = [f"{json.dumps(name)}:{json.dumps(each, ensure_ascii=False)}" for name, each in content.items()]
        path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


@contextmanager
def _receiver() -> Iterator[str]:
    """Run a receiver of webhooks that answers 204."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
