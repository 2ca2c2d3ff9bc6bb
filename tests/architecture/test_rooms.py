"""The packages depend on each other in one direction, and each module has tests of its name."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("nst_core", "worker", "scheduler")
#: Modules without a unit test of their name, and what tests them instead. A new module needs a test of its name.
TESTED_ELSEWHERE = {
    "*/settings.py": "fields alone; tests/unit/nst_core/test_settings.py reads them",
    "*/resources/*.py": "fields alone; the clients and the routes use them",
    "*/resources.py": "fields alone; the clients and the routes use them",
    "*/errors.py": "classes and codes alone; tests/unit/nst_core/test_errors.py and the routes use them",
    "nst_core/clock.py": "a type",
    "nst_core/client/*.py": "tests/unit/nst_core/client go through Client and AsyncClient",
    "nst_core/decoding/*.py": "test_decoder.py starts the decoder's processes",
    "nst_core/gatys/*.py": "test_optimizer.py and test_objective.py run what these parts make",
    "nst_core/images/*.py": "test_decoding.py and test_odd_pictures.py decode and encode files",
    "nst_core/losses/*.py": "test_all.py runs every term",
    "nst_core/nets/*.py": "the tests of transformer, weights and loss networks use these",
    "nst_core/peers/*.py": "test_networks.py and test_detect.py read files of each kind",
    "nst_core/protocol/*.py": "test_chunks.py and test_events.py send every message",
    "nst_core/queue/*.py": "control/test_broker.py and tests/integration use a real Redis",
    "nst_core/storage/*.py": "test_blobs.py uses a real S3 server",
    "nst_core/training/*.py": "the tests of run and curve use these",
    "worker/app.py": "tests/integration/test_worker.py starts workers",
    "worker/methods/*.py": "methods/test_task.py and test_report.py, and tests/integration/test_optimize.py",
    "worker/methods/*/*.py": "methods/test_task.py, and tests/integration/test_worker.py and test_optimize.py",
    "worker/runtime/*.py": "tests/integration/test_worker.py and the tests of the tasks",
    "worker/segments/*.py": "segments/test_task.py and test_training.py, tests/integration/test_training_worker.py",
    "scheduler/app.py": "tests/e2e and tests/faults start schedulers",
    "scheduler/access/keys.py": "tests/integration/test_keys.py",
    "scheduler/access/places.py": "tests/integration/test_tenants.py and test_addresses.py",
    "scheduler/access/tenants.py": "tests/integration/test_tenants.py",
    "scheduler/api/*.py": "tests/integration/test_*_api.py, test_problems.py and test_fuzz.py send requests",
    "scheduler/api/routes/*.py": "tests/integration/test_*_api.py send requests to every route",
    "scheduler/domain/addresses.py": "tests/unit/scheduler/domain/test_jobs.py",
    "scheduler/domain/naming.py": "tests/unit/scheduler/domain/test_jobs.py",
    "scheduler/domain/codes.py": "constants",
    "scheduler/domain/scopes.py": "constants",
    "scheduler/events/hub.py": "tests/integration/test_event_streams.py opens streams",
    "scheduler/jobs/*.py": "tests/integration: test_planner_*, test_verify, test_jobs_api and others",
    "scheduler/jobs/methods/*.py": "test_registry.py, and tests/integration/test_optimize.py",
    "scheduler/retention/*.py": "tests/integration/test_deletion.py removes objects from a real storage",
    "scheduler/runs/*.py": "tests/integration/test_runs_*.py train with a real storage",
    "scheduler/store/*.py": "SQL: tests/integration run it on SQLite and PostgreSQL",
    "scheduler/styles/*.py": "tests/integration/test_styles_import.py and test_runs_styles.py",
    "scheduler/uploads/*.py": "tests/integration/test_deletion.py and test_admission.py",
    "scheduler/webhooks/*.py": "tests/integration/test_webhooks.py and test_webhook_send.py send to real receivers",
}


def modules(package: str) -> Iterator[tuple[str, Path]]:
    """Yield the name and the file of each module of a package."""
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imports(path: Path) -> Iterator[str]:
    """Yield what a module imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            # `from scheduler.store import jobs` imports a module, and `from scheduler.store.jobs import Job` a name.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module: str) -> str:
    """Return the package that a module is in, such as scheduler.jobs."""
    return ".".join(module.split(".")[:2])


def graph() -> Mapping[str, set[str]]:
    """Return which rooms each room imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for package in PACKAGES:
        for module, path in modules(package):
            for name in imports(path):
                if name.split(".")[0] in PACKAGES and room(name) != room(module):
                    found[room(module)].add(room(name))
    return found


def test_no_circle_of_packages_exists() -> None:
    rooms = graph()
    assert len(rooms) > 20
    try:
        TopologicalSorter(rooms).prepare()
    except CycleError as error:
        raise AssertionError(f"these packages import each other in a circle: {' -> '.join(error.args[1])}") from None


def test_a_circle_would_be_found() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({**graph(), "scheduler.domain": {"scheduler.api"}}).prepare()


def test_each_module_has_a_test_file_of_its_name() -> None:
    missing = []
    for package in PACKAGES:
        for _, path in modules(package):
            inside = path.relative_to(ROOT)
            generated = {"_sync", "_async", "migrations"} & set(inside.parts)
            if path.name in ("__init__.py", "__main__.py") or generated:
                continue
            if (ROOT / "tests/unit" / inside.with_name(f"test_{path.name}")).exists():
                continue
            if not any(inside.match(pattern) for pattern in TESTED_ELSEWHERE):
                missing.append(str(inside))
    assert missing == []
