"""compose.yaml, its secrets, and the proxy in front of it."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet
from pydantic import SecretStr

from nst_core import __version__
from nst_core.queue.connection import make_redis
from nst_core.settings import BrokerSettings, unknown_variables
from scheduler.access.keys import is_api_key
from scheduler.local.servers import HOST, free_port, redis_command
from scheduler.settings import SchedulerSettings
from tests.servers import run_server
from worker.settings import WorkerSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose.yaml"
BIN = Path(sys.executable).parent
_VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::([?-])([^}]*))?}")
Services = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables that make-env writes."""
    path = tmp_path_factory.mktemp("env") / ".env"
    subprocess.run([DEPLOY / "make-env", path], check=True, stdout=subprocess.DEVNULL)
    assert path.stat().st_mode & 0o777 == 0o600
    return read_env(path)


@pytest.fixture(scope="module")
def services(env: dict[str, str]) -> Services:
    """The services with all variables filled in."""

    def fill(match: re.Match[str]) -> str:
        name, kind, other = match.groups()
        assert kind != "?" or env[name], f"{name} has a value"
        return env.get(name) or (other if kind == "-" else "") or ""

    text = _VARIABLE.sub(fill, COMPOSE.read_text()).replace("$$", "$")
    found: Services = yaml.safe_load(text)["services"]
    return found


def read_env(path: Path) -> dict[str, str]:
    """Return the variables of an .env file."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def of_nst(services: Services) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the names and definitions of schedulers and workers."""
    return ((name, each) for name, each in services.items() if name.startswith(("scheduler", "worker")))


def test_the_file_follows_the_published_schema() -> None:
    command: list[str | Path] = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_names_every_variable_and_no_other() -> None:
    used = {name for name, _, _ in _VARIABLE.findall(COMPOSE.read_text())}
    images = {name for name in used if name.endswith("_IMAGE")}
    assert read_env(DEPLOY / ".env.example").keys() == used - images


def test_each_secret_is_random_and_has_no_default(env: dict[str, str], tmp_path: Path) -> None:
    needed = {name for name, kind, _ in _VARIABLE.findall(COMPOSE.read_text()) if kind == "?"}
    subprocess.run([DEPLOY / "make-env", tmp_path / "other"], check=True, stdout=subprocess.DEVNULL)
    other = read_env(tmp_path / "other")
    assert needed == {name for name in env if env[name] != other[name]}
    assert all(not read_env(DEPLOY / ".env.example")[name] for name in needed)


def test_make_env_keeps_a_file_that_exists(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("NST_MESSAGE_SECRET=in use\n")
    done = subprocess.run([DEPLOY / "make-env", path], capture_output=True, text=True)
    assert (done.returncode, path.read_text()) == (1, "NST_MESSAGE_SECRET=in use\n")
    assert "stays as it is" in done.stderr


def test_the_settings_are_those_of_nst(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("NST_")]:
        monkeypatch.delenv(name)
    for name, service in of_nst(services):
        with monkeypatch.context() as patch:
            for key, value in service["environment"].items():
                patch.setenv(key, str(value))
            assert unknown_variables() == []
            settings = SchedulerSettings() if name.startswith("scheduler") else WorkerSettings()
            assert settings.redis_url.get_secret_value().endswith("@redis:6379/0")


def test_the_secrets_are_of_the_kinds_that_nst_takes(env: dict[str, str]) -> None:
    assert is_api_key(env["NST_BOOTSTRAP_API_KEY"])
    Fernet(env["NST_WEBHOOK_SECRET_KEY"])


def test_workers_do_not_know_the_secrets_of_the_scheduler(services: Services, env: dict[str, str]) -> None:
    for name, worker in of_nst(services):
        if name.startswith("worker"):
            text = json.dumps(worker)
            for secret in ("POSTGRES_PASSWORD", "NST_BOOTSTRAP_API_KEY", "NST_WEBHOOK_SECRET_KEY"):
                assert env[secret] not in text


def test_every_service_is_confined_and_restarts(services: Services) -> None:
    for name, service in services.items():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["restart"] == "unless-stopped", name
        assert "latest" not in service["image"], name
        assert ":" in service["image"], name
    for name, service in of_nst(services):
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name


def test_uploads_and_maps_of_large_photos_wait_on_a_disk(services: Services) -> None:
    # What is in a tmpfs counts as memory of the container, and has to fit into a size.
    for name, service in of_nst(services):
        assert "tmpfs" not in service, name
        # Without a name, so that each container has one of its own.
        assert "/tmp" in service["volumes"], name


def test_only_the_proxy_has_ports_for_other_machines(services: Services) -> None:
    ports = {name: service.get("ports", ()) for name, service in services.items()}
    assert [name for name in ports if any(not port.startswith("127.0.0.1:") for port in ports[name])] == ["proxy"]
    assert services["proxy"]["networks"] == ["front"]
    assert all("front" not in services[name]["networks"] for name in ("redis", "postgres", "storage"))


def test_the_images_are_those_of_this_version(services: Services) -> None:
    names = {name: service["image"] for name, service in of_nst(services)}
    assert names == {
        "scheduler-1": f"nst-scheduler:{__version__}",
        "scheduler-2": f"nst-scheduler:{__version__}",
        "worker-cpu": f"nst-worker-cpu:{__version__}",
        "worker-gpu": f"nst-worker-cuda:{__version__}",
    }


def test_volumes_are_declared(services: Services) -> None:
    declared = yaml.safe_load(COMPOSE.read_text())["volumes"].keys()
    mounts = [mount.split(":")[0] for service in services.values() for mount in service.get("volumes", ())]
    assert {mount for mount in mounts if not mount.startswith((".", "/"))} == declared


def test_redis_starts_as_it_is_configured(services: Services, env: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    server = redis_command(port, tmp_path)[0]
    script = services["redis"]["command"][2].replace("valkey-server", server)
    script = script.replace("dir /data", f"dir {tmp_path}\nport {port}\nbind {HOST}")
    with run_server(["sh", "-euc", script], port, services["redis"]["environment"]):
        url = f"redis://:{env['REDIS_PASSWORD']}@{HOST}:{port}/0"
        client = make_redis(BrokerSettings(redis_url=SecretStr(url), message_secret=SecretStr(secrets.token_hex(32))))
        answers = {name: client.config_get(name)[name] for name in ("maxmemory-policy", "appendonly", "save")}
        client.close()
    assert answers == {"maxmemory-policy": "noeviction", "appendonly": "yes", "save": ""}


def test_prometheus_reads_every_process_of_nst(services: Services) -> None:
    jobs = yaml.safe_load((DEPLOY / "monitoring" / "prometheus-compose.yaml").read_text())["scrape_configs"]
    read = {name: config["port"] for job in jobs for config in job["dns_sd_configs"] for name in config["names"]}
    assert read == {name: int(service["environment"]["NST_METRICS_PORT"]) for name, service in of_nst(services)}
    assert "--config.file=/etc/prometheus/prometheus-compose.yaml" in services["prometheus"]["command"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)")
def test_promtool_accepts_the_configuration() -> None:
    command = ["promtool", "check", "config", "prometheus-compose.yaml"]
    done = subprocess.run(command, cwd=DEPLOY / "monitoring", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_caddy_accepts_its_configuration() -> None:
    env = {**os.environ, "NST_ADDRESS": "nst.example"}
    command: list[str | Path] = [BIN / "caddy", "adapt", "--config", DEPLOY / "Caddyfile", "--validate"]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert '"dial":"scheduler-1:8700"' in done.stdout
    assert '"host":["nst.example"]' in done.stdout
