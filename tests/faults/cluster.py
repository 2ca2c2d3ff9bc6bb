"""A cluster on this machine: every server and process of nst, with a link between any two that communicate."""

import os
import random
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx
import numpy as np
from cryptography.fernet import Fernet
from PIL import Image
from pydantic import SecretStr
from sqlalchemy import create_engine, text

from nst_core.client import Client
from nst_core.queue.connection import make_redis
from nst_core.settings import BrokerSettings, StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.domain.keys import new_api_key
from scheduler.local.processes import Child
from scheduler.local.servers import HOST, free_port, redis_command, s3_command, s3_env
from tests.faults.doubles import EFFECTS, ITEM_MS, NAME, SWITCHES, Switches
from tests.faults.links import Links
from tests.faults.observer import Observer
from tests.faults.receiver import Receiver
from tests.photos import encoded
from tests.postgres import find_postgres, init_postgres, postgres_command, postgres_serves, postgres_url
from tests.servers import listens

ROOT = Path(__file__).parents[2]
BUCKET = "nst"
LEASE_S, LOST_AFTER_S, CHUNK_SIZE, CONCURRENCY = 5.0, 5.0, 8, 2
#: The pause before a dead process is started again.
RESTART_S = 1.0
_START_S = 120.0
SETTINGS = {
    "NST_LEASE_S": str(LEASE_S),
    "NST_LOST_AFTER_S": str(LOST_AFTER_S),
    "NST_RETRY_BACKOFF_S": "1",
    "NST_CHUNK_SIZE": str(CHUNK_SIZE),
    "NST_CONCURRENCY": str(CONCURRENCY),
    "NST_OPTIMIZE_CONCURRENCY": "0",
    "NST_TRAIN_CONCURRENCY": "0",
    "NST_HEARTBEAT_S": "0.5",
    "NST_PROGRESS_S": "0.2",
    "NST_THREADS": "1",
    "NST_STUCK_AFTER_S": "15",
    "NST_WEBHOOK_ALLOW_HTTP": "true",
    "NST_WEBHOOK_ALLOWED_NETWORKS": f'["{HOST}/32"]',
    "OMP_NUM_THREADS": "1",
    "NO_PROXY": f"{HOST},localhost",
    "no_proxy": f"{HOST},localhost",
}


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The configuration of a cluster."""

    database: str = "sqlite"
    workers: int = 3
    #: Whether to use real networks and real photos.
    real: bool = False
    #: The size in bytes of a separate file system for all data; None to use that of the temporary folder.
    disk_bytes: int | None = None

    @property
    def schedulers(self) -> int:
        """One with SQLite, two at the same time with PostgreSQL."""
        return 2 if self.database == "postgresql" else 1


@dataclass(kw_only=True)
class _Process:
    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path = ROOT
    child: Child | None = None
    #: Whether it must not be started again for now.
    held: bool = False
    died_at: float | None = None
    #: Its exit codes so far, negative for signals.
    codes: list[int] = field(default_factory=list)


class Cluster:
    """Runs all processes, and restarts those that die."""

    #: Whether workers record in a file what they store.
    counts_effects = True

    def __init__(self, setup: Setup, home: Path, *, seed: int = 0, item_ms: float = 5.0) -> None:
        """Nothing runs until the `with` block. All data is in `home`, an empty folder whose parent is ours too."""
        self.setup = setup
        self.home = home
        self.rng = random.Random(seed)
        self.links = Links(seed=seed)
        self.receiver = Receiver(port=free_port(), clock=time.time)
        #: Not with the data, because that disk may be full.
        self._control = home.with_name(f"{home.name}-control")
        self.switches = Switches(self._control)
        self.effects = self._control.with_suffix(".effects")
        self._item_ms = item_ms
        self._processes: dict[str, _Process] = {}
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._api_key = new_api_key()
        self._message_secret = secrets.token_hex(32)
        self._photos = set[str]()
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @property
    def workers(self) -> list[str]:
        """The names of all workers."""
        return [f"worker-{number}" for number in range(1, self.setup.workers + 1)]

    @property
    def schedulers(self) -> list[str]:
        """The names of all schedulers. Requests go to the API of the first one."""
        return [f"scheduler-{number}" for number in range(1, self.setup.schedulers + 1)]

    def client(self, *, retries: int = 14) -> Client:
        """Return a client of the first scheduler's API."""
        return Client(self.url, self._api_key, retries=retries)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of requests to the API."""
        return {"Authorization": f"Bearer {self._api_key}"}

    def pid(self, name: str) -> int:
        """Return the id of a process, or 0 if it is not running."""
        with self._lock:
            child = self._processes[name].child
        return child.pid if child is not None and child.poll() is None else 0

    def takes_work(self, name: str) -> bool:
        """Return whether a worker is listening to its queue."""
        pid = self.pid(name)
        return pid > 0 and re.search(rf" {pid}-\S+ ready\.$", self.logs(name), re.MULTILINE) is not None

    def codes(self, name: str) -> list[int]:
        """Return the exit codes of a process so far, negative for signals."""
        return list(self._processes[name].codes)

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Send a signal to a process. Return False if it is not running."""
        with self._lock:
            child = self._processes[name].child
        if child is None or child.poll() is not None:
            return False
        child.send_signal(number)
        return True

    def stop(self, name: str, *, grace_s: float) -> int:
        """End a process with SIGTERM, or SIGKILL after its grace period, keep it stopped, and return its exit code."""
        with self._lock:
            process = self._processes[name]
            process.held = True
            child = process.child
        assert child is not None
        child.terminate()
        deadline = time.monotonic() + grace_s
        while (code := child.poll()) is None:
            if time.monotonic() > deadline:
                child.send_signal(signal.SIGKILL)
            time.sleep(0.02)
        return code

    def hold(self, name: str, held: bool = True) -> None:
        """Keep a process stopped when it ends, or allow restarts again."""
        with self._lock:
            self._processes[name].held = held

    def logs(self, kind: str) -> str:
        """Return the logs of all processes of a kind, such as scheduler."""
        return "".join(path.read_text(errors="replace") for path in sorted((self.home / "logs").glob(f"{kind}*.log")))

    @property
    def broker_settings(self) -> BrokerSettings:
        """The settings of Redis without a link in between."""
        return BrokerSettings(
            redis_url=SecretStr(f"redis://{HOST}:{self.redis_port}/0"), message_secret=SecretStr(self._message_secret)
        )

    def flush_redis(self) -> None:
        """Delete all that Redis holds."""
        client = make_redis(self.broker_settings)
        client.flushall()
        client.close()

    def photos(self, count: int) -> str:
        """Put a number of different small photos into storage, unless they are there. Return their prefix."""
        name = f"{count:06d}"
        if name not in self._photos:
            numbers = range(count)
            self.put_photos(name, {f"{number:06d}.png": _small_photo(number) for number in numbers})
            self._photos.add(name)
        return f"s3://{BUCKET}/photos/{name}/"

    def put_photos(self, name: str, photos: Mapping[str, bytes]) -> str:
        """Put the given photos into storage, and return their prefix."""
        with ThreadPoolExecutor(16) as threads:
            uris = [BlobUri(BUCKET, f"photos/{name}/{file}") for file in photos]
            list(threads.map(self.blobs.put, uris, photos.values()))
        return f"s3://{BUCKET}/photos/{name}/"

    def objects(self, prefix: str) -> dict[str, bytes]:
        """Return the objects under a prefix by the rest of their key, read from the storage's own folder."""
        folder = self.home / "s3" / BUCKET / BlobUri.parse(prefix).key
        paths = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    def wait_until(self, condition: Callable[[], bool], *, seconds: float = _START_S, what: str = "it") -> None:
        """Return when a condition holds. Raise TimeoutError if it does not hold in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come in {seconds:g} s.")
            time.sleep(0.05)

    def restore(self) -> None:
        """End all faults, and return when everything runs."""
        self.switches.clear()
        for name in self._link_names:
            self.links[name].heal()
        self.links.storage("storage").disturb(None)
        for name, process in self._processes.items():
            self.signal(name, signal.SIGCONT)
            process.held = False
        deadline = time.monotonic() + _START_S
        while lacking := self._lacking():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{lacking} after {_START_S:g} s.")
            time.sleep(0.05)

    def _lacking(self) -> str:
        """Return the first thing that does not run as it should, or nothing."""
        for name in self._processes:
            if not self.pid(name):
                return f"{name} does not run"
        for name in self.workers:
            if not self.takes_work(name):
                return f"{name} takes no work"
        urls = (f"http://{HOST}:{port}/readyz" for port in self._api_ports)
        return next((f"{url} does not answer" for url in urls if not _answers(url)), "")

    def _start(self) -> None:
        self._cleanup.callback(self.links.close)
        self._cleanup.callback(self.receiver.close)
        if self.setup.disk_bytes is not None:
            options = f"size={self.setup.disk_bytes}"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.home)], check=True)
            self._cleanup.callback(subprocess.run, ["umount", "-l", str(self.home)], check=False)
        self._control.mkdir()
        self.effects.touch()
        for name in ("logs", "redis", f"s3/{BUCKET}", "postgres"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        self._cleanup.callback(self._end_processes)
        self._keeper.start()
        self.redis_port, s3_port, secret = free_port(), free_port(), secrets.token_hex(16)
        self._add("redis", redis_command(self.redis_port, self.home / "redis"), {})
        self._add("s3", s3_command(s3_port, self.home / "s3"), s3_env("nst", secret))
        database_port = self._start_database()
        self.wait_until(lambda: listens(self.redis_port) and listens(s3_port), what="Redis and the storage")
        self.blobs = BlobStore(
            StorageSettings(
                s3_endpoint=f"http://{HOST}:{s3_port}",
                s3_access_key=SecretStr("nst"),
                s3_secret_key=SecretStr(secret),
                s3_bucket=BUCKET,
            )
        )
        shared = SETTINGS | {
            "NST_S3_ENDPOINT": f"http://{HOST}:{self.links.add_storage('storage', s3_port)}",
            "NST_S3_ACCESS_KEY": "nst",
            "NST_S3_SECRET_KEY": secret,
            "NST_MESSAGE_SECRET": self._message_secret,
            "NST_BOOTSTRAP_API_KEY": self._api_key,
            "NST_WEBHOOK_SECRET_KEY": Fernet.generate_key().decode(),
            SWITCHES: str(self._control),
            EFFECTS: str(self.effects),
            ITEM_MS: str(self._item_ms),
            # Known item times must not change the size of chunks.
            "NST_CHUNK_S": "60" if self.setup.real else str(CHUNK_SIZE * self._item_ms / 1000),
        }
        self._link_names = ["storage"]
        self._api_ports = [free_port() for _ in self.schedulers]
        self.url = f"http://{HOST}:{self._api_ports[0]}"
        for name, port in zip(self.schedulers, self._api_ports, strict=True):
            env = {"NST_HOST": HOST, "NST_PORT": str(port), "NST_DATABASE_URL": self.database_url}
            if database_port is not None:
                env["NST_DATABASE_URL"] = postgres_url(self._link(f"{name}>database", database_port), "nst")
            self._add_inside(name, "scheduler", shared | env)
        self.wait_until(
            lambda: all(_answers(f"http://{HOST}:{port}/readyz") for port in self._api_ports), what="the API"
        )
        self.observer = Observer(self.database_url)
        self._cleanup.callback(self.observer.close)
        for name in self.workers:
            self._add_inside(name, "real-worker" if self.setup.real else "worker", shared)

    def _start_database(self) -> int | None:
        if self.setup.database == "sqlite":
            self.database_url = f"sqlite:///{self.home}/nst.db"
            return None
        programs = find_postgres()
        assert programs is not None, "PostgreSQL's server programs are not installed"
        data, port = self.home / "postgres" / "data", free_port()
        init_postgres(programs, data)
        self._add("postgres", postgres_command(programs, data, port), {}, cwd=data)
        self.wait_until(lambda: postgres_serves(port), what="PostgreSQL")
        engine = create_engine(postgres_url(port), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("CREATE DATABASE nst"))
        engine.dispose()
        self.database_url = postgres_url(port, "nst")
        return port

    def _link(self, name: str, target: int) -> int:
        self._link_names.append(name)
        return self.links.add(name, target)

    def _add_inside(self, name: str, role: str, env: Mapping[str, str]) -> None:
        redis_url = f"redis://{HOST}:{self._link(f'{name}>redis', self.redis_port)}/0"
        command = [sys.executable, "-m", "tests.faults.inside", role]
        self._add(name, command, {**env, NAME: name, "NST_REDIS_URL": redis_url})

    def _add(self, name: str, command: Sequence[str], env: Mapping[str, str], *, cwd: Path = ROOT) -> None:
        with self._lock:
            self._processes[name] = process = _Process(command=command, env={**os.environ, **env}, cwd=cwd)
        # The keeper starts them, because processes die with the thread that started them.
        self.wait_until(lambda: process.child is not None, what=name)

    def _keep(self) -> None:
        while not self._closed.wait(0.05):
            with self._lock:
                for name, process in self._processes.items():
                    self._keep_running(name, process)

    def _keep_running(self, name: str, process: _Process) -> None:
        if process.child is not None and process.died_at is None and (code := process.child.poll()) is not None:
            process.codes.append(code)
            process.died_at = time.monotonic()
        due = process.died_at is None or time.monotonic() - process.died_at >= RESTART_S
        if process.held or not due or (process.child is not None and process.died_at is None):
            return
        log = self.home / "logs" / f"{name}.log"
        with suppress(OSError):  # a full disk
            process.child = Child(name, process.command, env=process.env, cwd=process.cwd, log=log)
            process.died_at = None

    def _end_processes(self) -> None:
        for process in self._processes.values():
            process.held = True
        for process in reversed(self._processes.values()):
            if process.child is not None:
                process.child.send_signal(signal.SIGKILL)
        self._closed.set()
        if self._keeper.ident is not None:
            self._keeper.join()
        for process in self._processes.values():
            while process.child is not None and process.child.poll() is None:
                time.sleep(0.01)

    def _close(self) -> None:
        self._cleanup.close()


def _small_photo(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
