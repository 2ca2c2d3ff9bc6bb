"""The checks of `nst doctor`, by what a machine runs.

Modules that need packages of an extra are imported by the checks themselves, so that a check is skipped if one is not
installed.
"""

import tempfile
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, cast

from scheduler.local.home import Home
from scheduler.operations.findings import (
    Check,
    Finding,
    UncheckableError,
    ok,
    problem,
    read,
    skipped,
    skipping,
    warning,
)
from scheduler.operations.machine_checks import check_compiler, check_folder, check_port

#: Loading torch, and measuring engines for the first time, take longer than any question to a server.
_ENGINE_S = 120.0
#: Reading files of some hundred megabytes.
_FILES_S = 60.0
#: One at a time: while an import of one thread fails, one of another thread may get half of a module.
_IMPORTING = Lock()

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings


class Role(StrEnum):
    """What a machine runs."""

    SCHEDULER = "scheduler"
    WORKER = "worker"


def all_checks(roles: Sequence[Role], home: Home | None = None) -> list[Check]:
    """Return the checks for some roles. Their settings are in the environment; `home` is where they come from, if any.

    What `nst up` serves is not asked while it does not run.
    """
    servers = [*_servers(roles)]
    first: list[Check] = []
    if home is not None:
        first = [Check(names=("home",), run=partial(_home, home))]
        if not home.is_running():
            why = "It needs the servers of `nst up`, which does not run."
            servers = [Check(names=check.names, run=partial(skipping, check.names, why)) for check in servers]
    checks = [*first, *_settings(roles), *servers]
    if Role.SCHEDULER in roles:
        checks += _scheduler()
    folder = Path(tempfile.gettempdir())
    checks += [
        Check(names=("disk_temporary",), run=partial(check_folder, "disk_temporary", folder, setting="set TMPDIR"))
    ]
    if home is not None:
        checks.append(
            Check(names=("disk_home",), run=partial(check_folder, "disk_home", home.folder, setting="give --home"))
        )
    if Role.WORKER in roles:
        checks += _worker()
    return checks


def _home(home: Home) -> Iterator[Finding]:
    if home.is_running():
        yield ok("home", f"nst runs with the home folder {home.folder}.")
    elif home.settings_file.exists():
        yield warning("home", "home_stopped", f"nst does not run with the home folder {home.folder}.", "Run `nst up`.")
    else:
        remedy = "Run `nst up`; or set the NST_* variables of a cluster, and leave out --home."
        yield problem("home", "home_unknown", f"nst has never run with the home folder {home.folder}.", remedy)


def _settings(roles: Sequence[Role]) -> Iterator[Check]:
    yield Check(names=("variables",), run=_variables)
    for role in roles:
        yield Check(names=(f"settings_{role}",), run=partial(_settings_of, role))


def _variables() -> Iterator[Finding]:
    with _IMPORTING:
        from nst_core.settings import unknown_variables

        unknown = unknown_variables()
    if unknown:
        yield warning("variables", "settings_unknown", " ".join(unknown), "Correct or remove these variables.")
    else:
        yield ok("variables", "nst knows all NST_* variables that are set.")


def _settings_of(role: Role) -> Iterator[Finding]:
    name = f"settings_{role}"
    try:
        read(_settings_class(role))
        read(_settings_of_decoders())
    except UncheckableError as error:
        yield problem(name, "settings_invalid", f"{error}.", "Correct these variables.")
    else:
        yield ok(name, f"The settings of a {role} are valid.")


def _settings_class(role: Role) -> type["BaseSettings"]:
    # By name, because a scheduler never imports a worker.
    with _IMPORTING:
        return cast("type[BaseSettings]", getattr(import_module(f"{role}.settings"), f"{role.capitalize()}Settings"))


def _settings_of_decoders() -> type["BaseSettings"]:
    with _IMPORTING:
        from nst_core.settings import DecoderSettings
    return DecoderSettings


def _servers(roles: Sequence[Role]) -> Iterator[Check]:
    def redis() -> Iterator[Finding]:
        with _IMPORTING:
            from nst_core.settings import BrokerSettings
            from scheduler.operations.redis_checks import check_redis

        yield from check_redis(read(BrokerSettings))

    def storage() -> Iterator[Finding]:
        with _IMPORTING:
            from nst_core.settings import StorageSettings
            from scheduler.operations.storage_checks import check_storage

        yield from check_storage(read(StorageSettings), deletes=Role.SCHEDULER in roles)

    def styles() -> Iterator[Finding]:
        with _IMPORTING:
            from nst_core.settings import StorageSettings
            from scheduler.operations.storage_checks import check_stored_styles

        yield from check_stored_styles(read(StorageSettings))

    redis_names = ("redis", "redis_version", "redis_eviction", "redis_database", "redis_clock")
    yield Check(names=redis_names, run=redis)
    yield Check(names=("storage", "storage_bucket", "storage_rights", "storage_clock"), run=storage, limit_s=30.0)
    yield Check(names=("storage_styles",), run=styles, limit_s=_FILES_S)


def _scheduler() -> Iterator[Check]:
    def database() -> Iterator[Finding]:
        with _IMPORTING:
            from scheduler.operations.database_checks import check_database
            from scheduler.settings import DatabaseSettings

        settings = read(DatabaseSettings)
        yield from check_database(settings.database_url.get_secret_value(), migrates=settings.migrate == "auto")

    def disk() -> Iterator[Finding]:
        with _IMPORTING:
            from scheduler.settings import DatabaseSettings
            from scheduler.store.database import Database

        folder = Database(read(DatabaseSettings).database_url.get_secret_value()).folder
        if folder is None:
            yield skipped("disk_database", "The database is not a file of this machine.")
        else:
            yield from check_folder("disk_database", folder, setting="change NST_DATABASE_URL")

    def api() -> Iterator[Finding]:
        with _IMPORTING:
            from scheduler.settings import ApiSettings

        settings = read(ApiSettings)
        yield from check_port("port_api", settings.host, settings.port, setting="NST_PORT", package="scheduler")

    yield Check(names=("database", "database_schema"), run=database, limit_s=20.0)
    yield Check(names=("disk_database",), run=disk)
    yield Check(names=("port_api",), run=api)
    yield Check(names=("port_metrics",), run=partial(_metrics, Role.SCHEDULER))


def _metrics(role: Role) -> Iterator[Finding]:
    with _IMPORTING:
        from nst_core.settings import MetricsSettings

    settings = read(MetricsSettings)
    if settings.metrics_port is None:
        yield skipped("port_metrics", "NST_METRICS_PORT is not set: metrics are not served.")
    else:
        host, port = settings.metrics_host, settings.metrics_port
        yield from check_port("port_metrics", host, port, setting="NST_METRICS_PORT", package=role)


def _worker() -> Iterator[Check]:
    def cache() -> Iterator[Finding]:
        folder: Path = vars(read(_settings_class(Role.WORKER)))["cache_dir"]
        yield from check_folder("disk_cache", folder, setting="change NST_CACHE_DIR")

    def weights() -> Iterator[Finding]:
        with _IMPORTING:
            from nst_core.settings import LossWeightsSettings
            from scheduler.operations.weights_checks import check_weights

        yield from check_weights(read(LossWeightsSettings).loss_weights)

    def engine() -> Iterator[Finding]:
        with _IMPORTING:
            from scheduler.operations.worker_checks import check_worker

        read(_settings_class(Role.WORKER))
        yield from check_worker(limit_s=_ENGINE_S - 5.0)

    yield Check(names=("disk_cache",), run=cache)
    yield Check(names=("weights_shipped", "weights_other"), run=weights, limit_s=_FILES_S)
    yield Check(names=("compiler",), run=check_compiler)
    yield Check(names=("engine", "kernels"), run=engine, limit_s=_ENGINE_S)
