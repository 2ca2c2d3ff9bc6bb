"""The embedded stack: real Redis, real object storage, the real scheduler, and a worker where one is needed."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from nst_core.client import ApiError, Client
from nst_core.client.resources.jobs import JobInput, JobRequest
from nst_core.errors import ConfigError
from nst_core.storage.blobs import BlobStore, BlobUri
from nst_core.system.c_kernels import build_in_background
from nst_core.system.heartbeat import touched_at
from scheduler.local.embedded import Stack
from scheduler.local.home import ClientConfig, Home, HomeLockedError
from scheduler.local.servers import HOST, free_port
from scheduler.local.supervisor import ServiceState, StackError, StackEvent
from tests.brokers import Broker
from tests.processes import MARK, marked_processes, wait_until, wait_until_gone


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> str:
    """Marks every process that the test starts."""
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    return mark


ROOT = Path(__file__).parents[4]


RUNS_A_STACK = """
import sys, time
from pathlib import Path
from scheduler.local.embedded import Stack
with Stack(Path(sys.argv[1]), workers=0):
    print("up", flush=True)
    time.sleep(60)
"""


def run_stack(home: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", RUNS_A_STACK, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def test_a_stack_serves_its_api_and_leaves_nothing_running(tmp_path: Path, mark: str) -> None:
    tmp_path.chmod(0o755)
    # Otherwise compilers would be counted, which a worker starts if nobody has before.
    build_in_background(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])).join()
    events: list[StackEvent] = []
    with Stack(tmp_path, workers=1, on_event=events.append) as stack, stack.client() as client:
        assert client.is_ready()
        assert set(stack.children) == {"redis", "s3", "scheduler", "worker-1"}
        assert list(client.jobs()) == []
        assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("nst.db*")} == {0o600}
        with closing(Broker(stack.addresses.broker)) as broker:
            broker.ping()
        BlobStore(stack.addresses.storage).put(BlobUri("nst", "x"), b"data")
        with Client(stack.url, "nst_00000000_" + "x" * 43) as stranger, pytest.raises(ApiError) as caught:
            stranger.styles()
        assert caught.value.status == 401
        assert len(marked_processes(mark, tmp_path)) == 4
    assert wait_until_gone(mark, tmp_path) == {}
    stopped = [event.name for event in events if event.state is ServiceState.STOPPING]
    assert stopped.index("worker-1") < stopped.index("scheduler") < stopped.index("redis")


@pytest.mark.parametrize("name", ["50%41% what?", "a#b üml'"])
def test_a_home_may_have_any_name(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    with Stack(home, workers=0) as stack, stack.client() as client:
        assert client.is_ready()
        assert client.styles()
    assert (home / "nst.db").stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing is written outside of the home"


def test_secrets_are_not_in_command_lines_or_logs(tmp_path: Path, mark: str) -> None:
    events: list[StackEvent] = []
    with Stack(tmp_path, workers=1, on_event=events.append) as stack:
        where = stack.addresses
        password = urlsplit(where.broker.redis_url.get_secret_value()).password
        secrets = [password, stack.home.s3_secret(), stack.home.message_secret()]
        assert all(secret and len(secret) > 30 for secret in secrets)
        lines = [*marked_processes(mark, tmp_path).values(), repr(where), repr(stack.home)]
        worker_is_ready = StackEvent(name="worker-1", state=ServiceState.READY)
        wait_until(lambda: worker_is_ready in events, seconds=120)
        assert "ready." in (stack.home.logs / "worker-1.log").read_text(), "it takes work"
        beats = [stack.home.heartbeat(name) for name in ("scheduler", "worker-1")]
        before = [touched_at(path) for path in beats]
        wait_until(lambda: all(touched_at(path) != at for path, at in zip(beats, before, strict=True)), seconds=30)
        assert "listens on http://127.0.0.1:" in (stack.home.logs / "scheduler.log").read_text()
    lines += [path.read_text() for path in tmp_path.glob("logs/*")]
    assert not [secret for secret in secrets for line in lines if str(secret) in line]


def test_other_users_can_use_neither_redis_nor_the_storage(tmp_path: Path) -> None:
    with Stack(tmp_path, workers=0) as stack:
        url = urlsplit(stack.addresses.broker.redis_url.get_secret_value())
        with redis.Redis(url.hostname or "", url.port or 0) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.config_set("dir", str(tmp_path))
        assert httpx.get(f"{stack.addresses.storage.s3_endpoint}/nst", trust_env=False).status_code >= 400


def test_a_second_stack_in_the_same_home_is_refused(tmp_path: Path) -> None:
    with (
        Stack(tmp_path, workers=0),
        pytest.raises(HomeLockedError, match="already running"),
        Stack(tmp_path, workers=0),
    ):
        pass


def test_key_port_and_jobs_are_kept_for_the_next_start(tmp_path: Path) -> None:
    with Stack(tmp_path, workers=0) as stack, stack.client() as client:
        where, style = stack.addresses.api, client.styles()[0].name
        BlobStore(stack.addresses.storage).put(BlobUri("nst", "in/a.jpg"), b"photo")
        job = client.submit(JobRequest(input=JobInput(prefix="s3://nst/in/"), styles=(style,)))
    assert Home(tmp_path).read_client() == where
    with Stack(tmp_path, workers=0) as stack, stack.client() as client:
        assert stack.addresses.api == where
        assert not client.job(job.id).status.is_terminal


def test_a_killed_scheduler_comes_back(tmp_path: Path) -> None:
    events: list[StackEvent] = []
    with Stack(tmp_path, workers=0, on_event=events.append) as stack, stack.client() as client:
        assert client.styles()
        stack.kill("scheduler")
        assert client.styles()  # the client waits for it
    assert any((event.name, event.state) == ("scheduler", ServiceState.DIED) for event in events)


def test_settings_for_the_children_can_be_added(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="scheduler ended with"), Stack(tmp_path, env={"NST_CHUNK_SIZE": "none"}):
        pass


def test_the_processes_of_a_killed_stack_end(tmp_path: Path, mark: str) -> None:
    process = run_stack(tmp_path)
    process.kill()
    process.communicate()
    assert wait_until_gone(mark, tmp_path) == {}
    with Stack(tmp_path, workers=0) as stack:  # the lock has gone with it
        assert stack.url


def test_two_interrupts_kill_at_once(tmp_path: Path, mark: str) -> None:
    process = run_stack(tmp_path)
    # A stopped process takes no SIGTERM: the first Ctrl-C would wait for the whole grace.
    for pid in marked_processes(mark, tmp_path):
        if pid != process.pid:
            os.kill(pid, signal.SIGSTOP)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert time.monotonic() - started < 5
    assert wait_until_gone(mark, tmp_path) == {}


def test_the_port_is_the_last_one_or_the_first_free_one(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as other:
        busy = other.getsockname()[1]
        stack = Stack(tmp_path, first_port=busy)
        chosen = stack._choose_port()
        assert chosen != busy
        assert stack.busy_port == busy
        with pytest.raises(ConfigError, match=f"Another process uses port {busy}; choose"):
            Stack(tmp_path, port=busy)._choose_port()
        stack.home.write_client(ClientConfig(url=f"http://{HOST}:{busy}", api_key="k"))
        again = Stack(tmp_path, first_port=free_port())
        again._choose_port()
        assert again.busy_port == busy
    assert Stack(tmp_path, first_port=free_port())._choose_port() == busy


def test_each_process_has_its_own_port_for_metrics(tmp_path: Path) -> None:
    stack = Stack(tmp_path, workers=2, env={"NST_METRICS_PORT": "9600"})
    ports = [stack._metrics_env(number)["NST_METRICS_PORT"] for number in range(3)]
    assert ports == ["9600", "9601", "9602"]
    assert Stack(tmp_path)._metrics_env(1) == {}
