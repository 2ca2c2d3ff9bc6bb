"""`nst doctor` on real servers: each of ten faults is named, with a stable code and a remedy, and nothing else is."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from pydantic import SecretStr

from nst_core.queue.connection import make_redis
from nst_core.settings import BrokerSettings, StorageSettings
from nst_core.storage.blobs import BlobStore
from scheduler.local.servers import HOST, free_port, redis_command
from scheduler.operations import machine_checks
from scheduler.operations.checklist import Role, all_checks
from scheduler.operations.database_checks import check_database
from scheduler.operations.findings import Check, Finding, Status, run_all
from scheduler.operations.redis_checks import check_redis
from scheduler.operations.storage_checks import check_storage, check_stored_styles
from scheduler.store.database import Database
from tests.brokers import Broker
from tests.playing_s3 import playing
from tests.servers import run_server
from tests.unit.scheduler.store.test_schemas import newer_code

HOUR_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Place:
    """A healthy installation, whose settings are in the environment."""

    folder: Path
    redis: BrokerSettings
    storage: StorageSettings
    monkeypatch: pytest.MonkeyPatch
    closing: ExitStack

    def set(self, name: str, value: str) -> None:
        """Change a setting."""
        self.monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerSettings]:
    """A Redis whose configuration these tests change."""
    port = free_port()
    with run_server(redis_command(port, tmp_path_factory.mktemp("redis")), port):
        yield BrokerSettings(redis_url=SecretStr(f"redis://{HOST}:{port}/0"))


@pytest.fixture
def place(
    own_redis: BrokerSettings,
    s3_server: StorageSettings,
    blobs: BlobStore,
    sqlite_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    with closing(make_redis(own_redis)) as client:
        client.flushall()
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 0)
    mark(own_redis)
    shutil.copy(sqlite_template, tmp_path / "nst.db")
    assert s3_server.s3_secret_key is not None
    for name, value in {
        "NST_REDIS_URL": own_redis.redis_url.get_secret_value(),
        "NST_MESSAGE_SECRET": own_redis.message_secret.get_secret_value(),
        "NST_DATABASE_URL": f"sqlite:///{tmp_path}/nst.db",
        "NST_S3_ENDPOINT": s3_server.s3_endpoint or "",
        "NST_S3_ACCESS_KEY": "nst",
        "NST_S3_SECRET_KEY": s3_server.s3_secret_key.get_secret_value(),
        "NST_S3_BUCKET": blobs.bucket,
        "NST_PORT": str(free_port()),
        "NST_METRICS_PORT": str(free_port()),
        "NST_CACHE_DIR": str(tmp_path / "cache"),
        "TORCH_HOME": str(tmp_path / "torch"),
    }.items():
        monkeypatch.setenv(name, value)
    with ExitStack() as closing_:
        yield Place(folder=tmp_path, redis=own_redis, storage=s3_server, monkeypatch=monkeypatch, closing=closing_)


def mark(settings: BrokerSettings) -> None:
    """Mark a database, as a scheduler that leads does."""
    with closing(Broker(settings)) as broker:
        assert broker.hold("collector", "test", seconds=60)


def found_by(*checks: Check) -> dict[str, Finding]:
    """Run checks, and give them more time: this machine may be busy."""
    patient = [replace(check, limit_s=120.0) for check in checks]
    return {finding.check: finding for finding in run_all(patient)}


def diagnosed(without: tuple[str, ...] = ("engine", "storage_styles")) -> dict[str, Finding]:
    """Run the checks of both roles but for those that load torch, or look at what a scheduler's start stores."""
    return found_by(*(check for check in all_checks((*Role,)) if check.names[0] not in without))


def wrong_key(place: Place) -> None:
    place.set("NST_S3_SECRET_KEY", "x" * 32)


def no_bucket(place: Place) -> None:
    place.set("NST_S3_BUCKET", "not-there")


def evicting_redis(place: Place) -> None:
    with closing(make_redis(place.redis)) as client:
        client.config_set("maxmemory", 64 << 20)
        client.config_set("maxmemory-policy", "allkeys-lru")


def old_schema(place: Place) -> None:
    newer_code(place.folder, place.monkeypatch)
    place.set("NST_MIGRATE", "refuse")


def full_disk(place: Place) -> None:
    disk = place.folder / "disk"
    disk.mkdir()
    if os.geteuid() == 0:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=True)
        place.closing.callback(subprocess.run, ["umount", str(disk)], check=True)
        with pytest.raises(OSError, match="No space left"):
            (disk / "rest").write_bytes(bytes(2 << 20))
    else:
        place.monkeypatch.setattr(machine_checks, "free_bytes", lambda folder: 1000 if folder == disk else 1 << 40)
    place.set("NST_CACHE_DIR", str(disk))


def no_write_right(place: Place) -> None:
    server = place.closing.enter_context(playing())
    server.quirks.refuse = lambda call: (403, "AccessDenied") if call.method == "PUT" else None
    place.set("NST_S3_ENDPOINT", server.settings.s3_endpoint or "")


def wrong_redis_database(place: Place) -> None:
    place.set("NST_REDIS_URL", place.redis.redis_url.get_secret_value()[:-1] + "3")


def port_taken(place: Place) -> None:
    other = place.closing.enter_context(socket.create_server((HOST, 0)))
    place.set("NST_PORT", str(other.getsockname()[1]))


def damaged_weights(place: Place) -> None:
    (place.folder / "vgg19-dcbb9e9d.pth").write_bytes(b"half of a file")
    place.set("NST_LOSS_WEIGHTS", str(place.folder))


def test_limits_of_decoders_are_settings_of_both_roles(place: Place) -> None:
    place.set("NST_DECODER_PROCESSES", "0")
    found = found_by(*(check for check in all_checks((*Role,)) if check.names[0].startswith("settings_")))
    assert {name: each.code for name, each in found.items()} == {
        "settings_scheduler": "settings_invalid",
        "settings_worker": "settings_invalid",
    }
    assert found["settings_worker"].found.startswith("NST_DECODER_PROCESSES ")


@pytest.mark.parametrize(
    ("fault", "check", "code", "words"),
    [
        (wrong_key, "storage", "storage_refused", "Correct NST_S3_ACCESS_KEY and NST_S3_SECRET_KEY"),
        (no_bucket, "storage_bucket", "storage_bucket_missing", "There is no bucket not-there."),
        (evicting_redis, "redis_eviction", "redis_evicts", "Set maxmemory-policy to noeviction"),
        (old_schema, "database_schema", "schema_old", "run `nst db upgrade`"),
        (full_disk, "disk_cache", "disk_full", "change NST_CACHE_DIR"),
        (no_write_right, "storage_rights", "storage_write_refused", "Give the key s3:PutObject"),
        (wrong_redis_database, "redis_database", "redis_database_wrong", "Let NST_REDIS_URL end with /0"),
        (port_taken, "port_api", "port_taken", f": {os.getpid()} ("),
        (damaged_weights, "weights_other", "weights_damaged", "vgg19-dcbb9e9d.pth"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_fault_is_named_with_a_remedy(
    place: Place, fault: Callable[[Place], None], check: str, code: str, words: str
) -> None:
    fault(place)
    found = diagnosed()
    problems = {name: each.code for name, each in found.items() if each.status is Status.PROBLEM}
    assert problems == {check: code}
    assert found[check].remedy
    text = f"{found[check].found} {found[check].remedy}"
    assert words in text


@pytest.mark.parametrize(("ahead_s", "way"), [(HOUR_S, "behind"), (-HOUR_S, "ahead of")])
def test_a_clock_that_is_off_by_an_hour_is_named(place: Place, ahead_s: float, way: str) -> None:
    def clock() -> float:
        return time.time() + ahead_s

    found = found_by(
        Check(names=("redis_clock",), run=partial(check_redis, place.redis, clock=clock)),
        Check(names=("storage_clock",), run=partial(check_storage, place.storage, clock=clock)),
    )
    assert {name: each.code for name, each in found.items()} == {
        "redis_clock": "clock_wrong",
        "storage_clock": "clock_wrong",
    }
    assert all(f"60 min {way} that of this machine" in each.found and each.remedy for each in found.values())


def test_nothing_is_wrong_with_a_healthy_installation(place: Place) -> None:
    found = diagnosed()
    assert {each.status for each in found.values()} <= {Status.OK, Status.WARNING}
    assert {each.code for each in found.values() if each.status is Status.WARNING} <= {"compiler_missing", "disk_low"}


def test_redis_that_no_scheduler_uses_is_a_warning_and_one_of_strangers_a_problem(place: Place) -> None:
    with closing(make_redis(place.redis)) as client:
        client.flushall()
    check = Check(names=("redis_database",), run=partial(check_redis, place.redis))
    assert found_by(check)["redis_database"].code == "redis_database_unmarked"
    mark(place.redis.model_copy(update={"message_secret": SecretStr("x" * 32)}))
    assert found_by(check)["redis_database"].code == "redis_database_foreign"


def test_a_wrong_password_and_a_server_that_is_away_are_different(place: Place) -> None:
    url = place.redis.redis_url.get_secret_value()
    for wrong, code in (
        (url.replace("//", "//nst:wrong@"), "redis_refused"),
        (f"redis://{HOST}:1/0", "redis_unreachable"),
    ):
        settings = place.redis.model_copy(update={"redis_url": SecretStr(wrong)})
        found = found_by(Check(names=("redis", "redis_version"), run=partial(check_redis, settings)))
        assert (found["redis"].code, found["redis_version"].status) == (code, Status.SKIPPED)


def test_rights_are_tried_one_by_one() -> None:
    with playing() as server:
        for method, code in (("GET", "storage_read_refused"), ("DELETE", "storage_delete_refused")):
            server.quirks.refuse = lambda call, method=method: (403, "AccessDenied") if call.method == method else None  # type: ignore[misc]
            check = Check(names=("storage_rights",), run=partial(check_storage, server.settings))
            assert found_by(check)["storage_rights"].code == code
        check = Check(names=("storage_rights",), run=partial(check_storage, server.settings, deletes=False))
        assert found_by(check)["storage_rights"].status is Status.WARNING, "workers need not delete"
        server.quirks.refuse = lambda call: (503, "SlowDown")
        assert found_by(Check(names=("storage",), run=check.run))["storage"].code == "storage_fails"
    assert found_by(Check(names=("storage",), run=check.run))["storage"].code == "storage_unreachable"


def test_styles_in_the_storage_are_compared_with_their_names() -> None:
    from nst_core.styles import shipped_styles, version_of
    from scheduler.styles.weights import weights_uri

    check = Check(names=("storage_styles",), run=lambda: check_stored_styles(server.settings))
    with playing() as server:
        assert found_by(check)["storage_styles"].code == "weights_missing"
        for style in shipped_styles():
            weights = style.weights()
            uri = weights_uri(server.store(), version_of(weights))
            server.objects["nst", uri.key] = weights
        assert found_by(check)["storage_styles"].status is Status.OK
        server.objects["nst", uri.key] = weights[:-1] + bytes([weights[-1] ^ 1])
        found = found_by(check)["storage_styles"]
    assert (found.code, style.name in found.found) == ("weights_damaged", True)


def test_a_database_is_reached_empty_and_migrated(database_url: str) -> None:
    def found(*, migrates: bool = True, url: str = database_url) -> dict[str, tuple[Status, str | None]]:
        names = ("database", "database_schema")
        check = Check(names=names, run=partial(check_database, url, migrates=migrates))
        return {name: (each.status, each.code) for name, each in found_by(check).items()}

    ok = (Status.OK, None)
    assert found() == {"database": ok, "database_schema": (Status.WARNING, "schema_empty")}
    assert found(migrates=False)["database_schema"] == (Status.PROBLEM, "schema_empty")
    with closing(Database(database_url)) as database:
        database.migrate()
    assert found() == {"database": ok, "database_schema": ok}
    if database_url.startswith("postgresql"):
        away = f"postgresql://nst@{HOST}:1/nst"
        assert found(url=away)["database"] == (Status.PROBLEM, "database_unreachable")
        assert found(url=database_url + "x")["database"] == (Status.PROBLEM, "database_unusable")


WITHOUT = """
import sys
for name in {missing!r}:
    sys.modules[name] = None
from scheduler.cli.app import run
sys.exit(run(["doctor", "--json"]))
"""


def test_checks_whose_packages_are_missing_are_skipped_and_say_so(place: Place) -> None:
    script = WITHOUT.format(missing=("sqlalchemy", "redis", "boto3"))
    # The probe is another process, in which the packages exist: a setting that is wrong keeps it short.
    env = {**os.environ, "NST_THREADS": "none"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120)
    found = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    for names, package, extra in (
        (("redis", "redis_clock"), "redis", "cluster"),
        (("storage", "storage_styles"), "boto3", "cluster"),
        (("database", "database_schema"), "sqlalchemy", "scheduler"),
    ):
        for name in names:
            assert found[name]["status"] == "skipped"
            assert f"package {package} is not installed here; `pip install '.[{extra}]'`" in found[name]["found"]
    assert done.returncode == 1
    problems = [each["check"] for each in found.values() if each["status"] == "problem"]
    assert problems == ["settings_worker"]
    assert found["engine"]["found"] == "The settings that it needs are not valid (NST_THREADS)."


def test_the_command_line_alone_can_be_checked(place: Place) -> None:
    script = WITHOUT.format(missing=("pydantic_settings",))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    found = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    assert done.returncode == 0, done.stderr
    assert found["disk_temporary"]["status"] in ("ok", "warning")
    for name in ("settings_scheduler", "settings_worker", "redis", "storage", "database", "port_api", "engine"):
        assert found[name]["status"] == "skipped", found[name]
        assert "package pydantic_settings is not installed here; `pip install '.[cluster]'`" in found[name]["found"]
