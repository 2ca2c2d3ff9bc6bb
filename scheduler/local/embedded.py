"""All of nst on one machine: Redis, object storage, the scheduler and workers as child processes.

with Stack(Path("~/.nst"), workers=2) as stack:
    with stack.client() as client: ...
"""

import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

import scheduler
from nst_core.client import Client
from nst_core.errors import ConfigError
from nst_core.settings import BrokerSettings, StorageSettings
from nst_core.system.heartbeat import READY, state_of
from nst_core.system.memory import total_bytes
from scheduler.local.home import ClientConfig, Home
from scheduler.local.processes import Child
from scheduler.local.servers import HOST, free_port, new_password, redis_command, s3_command, s3_env
from scheduler.local.supervisor import Service, StackEvent, Supervisor

BUCKET = "nst"
ACCESS_KEY = "nst"
#: A worker that fails silently is noticed after this many seconds.
LEASE_S = 15
#: Images that have started are finished within this time, or started again after the next start.
WORKER_GRACE_S = 20.0
#: Requests, control loops and webhooks that have started are ended within this time.
SCHEDULER_GRACE_S = 20.0
# The folder of the packages, so that they are found even if nst is not installed.
_ROOT = Path(scheduler.__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """The addresses and keys of a running stack."""

    api: ClientConfig
    broker: BrokerSettings
    storage: StorageSettings


class Stack:
    """A running nst in a home folder. Data, keys and unfinished jobs are kept there for the next start."""

    def __init__(
        self,
        home: Path,
        *,
        workers: int = 1,
        port: int | None = None,
        first_port: int | None = None,
        env: Mapping[str, str] | None = None,
        on_event: Callable[[StackEvent], None] = lambda event: None,
    ) -> None:
        """Nothing runs until `start`, or the `with` block.

        `port` is the port of the API. None means the same as last time, else `first_port`, else any free port; if
        another process uses it, the next free one. `env` adds to the environment of the scheduler and the workers.
        `on_event` is called from a thread of the stack.
        """
        if workers < 0:
            raise ConfigError("The number of workers cannot be negative.")
        self.home = Home(home)
        self._worker_count = workers
        self._port = port
        self._first_port = first_port
        #: The wanted port of the API, if another process uses it.
        self.busy_port: int | None = None
        self._env = dict(env or {})
        self._on_event = on_event
        #: New at each start, because nobody else needs it.
        self._redis_password = new_password()
        self._cleanup = ExitStack()
        self._addresses: Addresses | None = None
        self._supervisor: Supervisor | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def addresses(self) -> Addresses:
        """The addresses of all parts; raises RuntimeError before the start."""
        if self._addresses is None:
            raise RuntimeError("The stack was not started.")
        return self._addresses

    @property
    def url(self) -> str:
        """The address of the API."""
        return self.addresses.api.url

    @property
    def api_key(self) -> str:
        """The key for the API."""
        return self.addresses.api.api_key

    @property
    def children(self) -> dict[str, Child]:
        """The running processes by name: redis, s3, scheduler, worker-1 and so on. A restarted one is a new Child."""
        return self._supervisor.children if self._supervisor else {}

    def client(self) -> Client:
        """Return a client for the API."""
        return Client(self.url, self.api_key)

    def start(self) -> None:
        """Return when everything is ready; raise HomeLockedError or StackError, and leave nothing running."""
        try:
            self._cleanup.enter_context(self.home.locked())
            self._addresses = self._choose_addresses()
            variables = self._variables()
            self.home.write_settings(variables)
            if variables["NST_DATABASE_URL"] == self.home.database_url:
                self.home.prepare_database()
            self._supervisor = Supervisor(self._stages(), logs=self.home.logs, cwd=_ROOT, on_event=self._on_event)
            self._cleanup.callback(self._supervisor.stop)
            self._supervisor.start()
            self.home.write_client(self.addresses.api)
        except BaseException:
            self.stop()
            raise

    def wait(self) -> None:
        """Block until the stack ends; raise the error that ended it."""
        if self._supervisor is not None:
            self._supervisor.wait()

    def stop(self) -> None:
        """Stop workers, scheduler, object storage and Redis, in this order; KeyboardInterrupt kills them at once."""
        self._cleanup.close()

    def kill(self, name: str) -> None:
        """Kill a process, as `kill -9` does; it is restarted after a pause."""
        if name in self.children:
            self.children[name].send_signal(signal.SIGKILL)

    def _choose_addresses(self) -> Addresses:
        return Addresses(
            api=ClientConfig(url=f"http://{HOST}:{self._choose_port()}", api_key=self.home.api_key()),
            broker=BrokerSettings(
                redis_url=SecretStr(f"redis://:{self._redis_password}@{HOST}:{free_port()}/0"),
                message_secret=SecretStr(self.home.message_secret()),
            ),
            storage=StorageSettings(
                s3_endpoint=f"http://{HOST}:{free_port()}",
                s3_access_key=SecretStr(ACCESS_KEY),
                s3_secret_key=SecretStr(self.home.s3_secret()),
                s3_bucket=BUCKET,
            ),
        )

    def _choose_port(self) -> int:
        """Return the port of the API; raise ConfigError if it was given and another process uses it."""
        if self._port is not None:
            if _listens(self._port):
                raise ConfigError(f"Another process uses port {self._port}; choose another one with --port.")
            return self._port
        last = self.home.read_client()
        wanted = (last and urlsplit(last.url).port) or self._first_port
        if wanted is None:
            return free_port()
        port = next((port for port in range(wanted, min(wanted + 100, 65536)) if not _listens(port)), None)
        if port != wanted:
            self.busy_port = wanted
        return free_port() if port is None else port

    def _stages(self) -> list[list[Service]]:
        """Return the services in the order in which they start."""
        home, where, base = self.home, self.addresses, dict(os.environ)
        redis_port = _port(where.broker.redis_url.get_secret_value())
        s3_port = _port(where.storage.s3_endpoint or "")
        (home.s3 / BUCKET).mkdir(exist_ok=True)
        s3 = s3_command(s3_port, home.s3)
        storage_env = base | s3_env(ACCESS_KEY, home.s3_secret())
        redis = redis_command(redis_port, home.redis, password=self._redis_password)
        scheduler_env = base | self._shared_env() | self._scheduler_env() | self._env | self._metrics_env(0)
        return [
            [
                Service(
                    name="redis",
                    command=redis,
                    env=base,
                    is_ready=lambda: _redis_answers(redis_port, self._redis_password),
                ),
                Service(name="s3", command=s3, env=storage_env, is_ready=lambda: _listens(s3_port)),
            ],
            [
                Service(
                    name="scheduler",
                    command=module_command("scheduler"),
                    env=scheduler_env,
                    # The heartbeat proves that it is this scheduler, and not another process, that answers at the port.
                    is_ready=lambda: state_of(home.heartbeat("scheduler")) == READY and _api_is_ready(where.api.url),
                    heartbeat=home.heartbeat("scheduler"),
                    grace_s=SCHEDULER_GRACE_S,
                )
            ],
            [self._worker(number) for number in range(1, self._worker_count + 1)],
        ]

    def _variables(self) -> dict[str, str]:
        """Return the variables of the scheduler and of a worker, without those of each process alone."""
        given = {name: value for name, value in os.environ.items() if name.startswith("NST_")}
        own = self._shared_env() | self._worker_env(self._threads()) | self._scheduler_env() | self._env
        return {name: value for name, value in (given | own).items() if name != "NST_HEARTBEAT_FILE"}

    def _threads(self) -> int:
        return max(1, (os.cpu_count() or 1) // max(1, self._worker_count))

    def _worker(self, number: int) -> Service:
        name = f"worker-{number}"
        heartbeat = self.home.heartbeat(name)
        env = dict(os.environ) | self._shared_env() | self._worker_env(self._threads())
        return Service(
            name=name,
            command=module_command("worker"),
            env=env | {"NST_HEARTBEAT_FILE": str(heartbeat)} | self._env | self._metrics_env(number),
            is_ready=lambda: state_of(heartbeat) == READY,
            # Nothing else waits for a worker; it takes chunks when it is ready.
            is_awaited=False,
            grace_s=WORKER_GRACE_S,
            heartbeat=heartbeat,
        )

    def _worker_env(self, threads: int) -> dict[str, str]:
        memory = total_bytes() * 4 // 5 // max(1, self._worker_count)
        return {
            "NST_THREADS": str(threads),
            "NST_CACHE_DIR": str(self.home.cache),
            "NST_MEMORY_BYTES": os.environ.get("NST_MEMORY_BYTES") or str(memory),
        }

    def _metrics_env(self, number: int) -> dict[str, str]:
        """Return the port of the metrics of worker `number`: the ports of the workers follow that of the scheduler."""
        first = (os.environ | self._env).get("NST_METRICS_PORT", "")
        return {"NST_METRICS_PORT": str(int(first) + number)} if first.isdecimal() else {}

    def _shared_env(self) -> dict[str, str]:
        where = self.addresses
        return {
            "NST_REDIS_URL": where.broker.redis_url.get_secret_value(),
            "NST_MESSAGE_SECRET": where.broker.message_secret.get_secret_value(),
            "NST_S3_ENDPOINT": where.storage.s3_endpoint or "",
            "NST_S3_ACCESS_KEY": ACCESS_KEY,
            "NST_S3_SECRET_KEY": self.home.s3_secret(),
            "NST_S3_BUCKET": BUCKET,
            # A proxy cannot reach the ports of this machine.
            "NO_PROXY": f"{HOST},localhost",
            "no_proxy": f"{HOST},localhost",
        }

    def _scheduler_env(self) -> dict[str, str]:
        return {
            "NST_DATABASE_URL": self.home.database_url,
            "NST_HEARTBEAT_FILE": str(self.home.heartbeat("scheduler")),
            "NST_HOST": HOST,
            "NST_PORT": str(_port(self.url)),
            "NST_BOOTSTRAP_API_KEY": self.api_key,
            "NST_LEASE_S": str(LEASE_S),
            "NST_WEBHOOK_SECRET_KEY": self.home.webhook_key(),
        }


def module_command(name: str) -> list[str]:
    """Return the command that runs a top-level package of nst with this Python."""
    return [sys.executable, "-m", name]


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _redis_answers(port: int, password: str) -> bool:
    """Return whether Redis has loaded its data and accepts commands."""
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            with connection.makefile("rb") as answers:
                return answers.readline() == b"+OK\r\n" and answers.readline() == b"+PONG\r\n"
    except OSError:
        return False


def _api_is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=1, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
