"""The packages depend on each other in one direction, and each module has tests of its name."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("nst_core", "worker", "scheduler")
#: Modules without a unit test of their name: their folder, their names, and what tests them instead, below `tests`. A
#: new module needs a test of its name.
TESTED_ELSEWHERE = (
    ("nst_core/client", "answers errors retries", "unit/nst_core/client/test_requests.py"),
    ("nst_core/client", "events", "unit/nst_core/client/test_event_client.py"),
    ("nst_core/client/resources", "access events health", "integration/test_document.py"),
    ("nst_core/client/resources", "items jobs methods pages problems runs", "integration/test_document.py"),
    ("nst_core/client/resources", "sentences styles uploads webhooks", "integration/test_document.py"),
    ("nst_core/decoding", "child process", "unit/nst_core/decoding/test_decoder.py"),
    ("nst_core/gatys", "parts sources targets", "unit/nst_core/gatys/test_optimizer.py"),
    ("nst_core/images", "jpeg png simple source", "unit/nst_core/images/test_odd_pictures.py"),
    ("nst_core/images", "tiff_tags", "unit/nst_core/images/test_tiff.py"),
    ("nst_core/losses", "precision", "unit/nst_core/losses/test_all.py"),
    ("nst_core/nets", "feature_tiles", "unit/nst_core/nets/test_loss_network.py"),
    ("nst_core/peers", "assemble containers strangers unwrap", "unit/nst_core/peers/test_detect.py"),
    ("nst_core/protocol", "codec", "unit/nst_core/protocol/test_chunks.py"),
    ("nst_core/protocol", "segments", "unit/worker/segments/test_task.py"),
    ("nst_core/queue", "connection transport", "integration/test_queue.py"),
    ("nst_core/storage", "conditional", "unit/nst_core/storage/test_blobs.py"),
    ("nst_core/system", "otlp", "unit/nst_core/system/test_traces.py"),
    ("nst_core/training", "step_losses", "unit/nst_core/training/test_run.py"),
    ("nst_core/training", "scales", "unit/nst_core/training/test_presets.py"),
    ("nst_core/training", "stored_photos", "unit/nst_core/training/test_sources.py"),
    ("worker/methods/optimize", "method", "integration/test_optimize.py"),
    ("worker/methods/stylize", "method", "integration/test_worker.py"),
    ("worker/runtime", "broker consumer report steering work", "integration/test_worker.py"),
    ("worker/runtime", "celery_logs", "e2e/test_monitoring.py"),
    ("worker/segments", "work", "integration/test_training_worker.py"),
    ("scheduler", "app", "e2e/test_bulk.py"),
    ("scheduler", "monitoring", "integration/test_monitoring.py"),
    ("scheduler/access", "keys", "integration/test_keys.py"),
    ("scheduler/access", "places tenants", "integration/test_tenants.py"),
    ("scheduler/api", "app dependencies pages parameters readiness", "integration/test_api.py"),
    ("scheduler/api", "queries resources waiting", "integration/test_jobs_api.py"),
    ("scheduler/api", "openapi", "integration/test_document.py"),
    ("scheduler/api", "forms spools", "integration/test_hostile_bodies.py"),
    ("scheduler/api", "heads middleware", "integration/test_http_edges.py"),
    ("scheduler/api", "problems request_ids", "integration/test_problems.py"),
    ("scheduler/api/routes", "errors", "integration/test_problems.py"),
    ("scheduler/api/routes", "events", "integration/test_event_streams.py"),
    ("scheduler/api/routes", "health", "integration/test_api.py"),
    ("scheduler/api/routes", "job_items jobs", "integration/test_jobs_api.py"),
    ("scheduler/api/routes", "keys", "integration/test_keys.py"),
    ("scheduler/api/routes", "presets", "integration/test_optimize.py"),
    ("scheduler/api/routes", "runs", "integration/runs/test_requests.py"),
    ("scheduler/api/routes", "styles", "integration/test_styles_import.py"),
    ("scheduler/api/routes", "tenants", "integration/test_tenants.py"),
    ("scheduler/api/routes", "uploads", "integration/test_hostile_bodies.py"),
    ("scheduler/api/routes", "webhooks", "integration/test_webhooks_api.py"),
    ("scheduler/domain", "addresses naming", "unit/scheduler/domain/test_jobs.py"),
    ("scheduler/domain", "errors", "integration/test_problems.py"),
    ("scheduler/events", "hub", "integration/test_event_streams.py"),
    ("scheduler/jobs", "dry_run requests service", "integration/test_jobs_api.py"),
    ("scheduler/jobs", "finalizer", "integration/test_lifecycle.py"),
    ("scheduler/jobs", "inputs planner", "integration/test_planner_inputs.py"),
    ("scheduler/jobs", "result_zip", "integration/test_jobs_api.py"),
    ("scheduler/jobs", "verify", "integration/test_verify.py"),
    ("scheduler/jobs/methods", "base feedforward", "unit/scheduler/jobs/methods/test_registry.py"),
    ("scheduler/operations", "checklist clocks", "integration/test_doctor.py"),
    (
        "scheduler/operations",
        "database_checks redis_checks storage_checks weights_checks",
        "integration/test_doctor.py",
    ),
    ("scheduler/retention", "removal retention", "integration/test_deletion.py"),
    ("scheduler/runs", "files finish losses requests service tidy", "integration/runs/test_segments.py"),
    ("scheduler/runs", "forks", "integration/runs/test_forks.py"),
    ("scheduler/store", "errors", "integration/test_database.py"),
    ("scheduler/store", "events", "integration/test_events.py"),
    ("scheduler/store", "items jobs", "integration/test_queue.py"),
    ("scheduler/store", "keys", "integration/test_keys.py"),
    ("scheduler/store", "leases", "integration/test_clock_jumps.py"),
    ("scheduler/store", "rates rows", "integration/test_jobs_api.py"),
    ("scheduler/store", "runs segments", "integration/runs/test_segments.py"),
    ("scheduler/store", "request_keys", "integration/test_idempotency.py"),
    ("scheduler/store", "backlog", "unit/scheduler/jobs/test_backlog.py"),
    ("scheduler/store", "styles versions", "integration/test_style_versions.py"),
    ("scheduler/store", "tables", "integration/test_migrations.py"),
    ("scheduler/store", "tenants", "integration/test_tenants.py"),
    ("scheduler/store", "uploads", "integration/test_deletion.py"),
    ("scheduler/store", "webhooks", "integration/test_webhooks.py"),
    ("scheduler/styles", "library ownership pins", "integration/test_styles_import.py"),
    ("scheduler/uploads", "service", "integration/test_admission.py"),
    ("scheduler/webhooks", "send", "integration/test_webhook_send.py"),
    ("scheduler/webhooks", "service", "integration/test_webhooks_api.py"),
)
#: Modules with nothing to test: a type, constants, fields.
NO_CODE = ("nst_core/clock.py", "scheduler/domain/codes.py")
#: The most lines of a function.
MOST_LINES = 60


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


def has_test(inside: str) -> bool:
    """Return whether a module has a unit test of its name."""
    path = Path("tests/unit", inside)
    return (ROOT / path.with_name(f"test_{path.name}")).exists()


def test_each_module_has_a_test_file_of_its_name() -> None:
    elsewhere = {f"{folder}/{name}.py" for folder, names, _ in TESTED_ELSEWHERE for name in names.split()}
    missing = []
    for package in PACKAGES:
        for _, path in modules(package):
            inside = path.relative_to(ROOT)
            generated = {"_sync", "_async", "migrations"} & set(inside.parts)
            if path.name in ("__init__.py", "__main__.py") or generated or has_test(str(inside)):
                continue
            if str(inside) not in elsewhere and str(inside) not in NO_CODE:
                missing.append(str(inside))
    assert missing == []


@pytest.mark.parametrize(("folder", "names", "tests"), TESTED_ELSEWHERE)
def test_what_is_tested_elsewhere_exists_and_so_do_its_tests(folder: str, names: str, tests: str) -> None:
    paths = [f"{folder}/{name}.py" for name in names.split()]
    assert [path for path in paths if not (ROOT / path).exists() or has_test(path)] == []
    assert (ROOT / "tests" / tests).exists()


@pytest.mark.parametrize("path", NO_CODE)
def test_modules_with_nothing_to_test_have_no_functions(path: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    assert not any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in ast.walk(tree))


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function has. Of a command, its parameters do not count: they declare its options."""
    is_command = any(ast.unparse(each.annotation or function) == "typer.Context" for each in function.args.args)
    return (function.end_lineno or 0) - (function.body[0].lineno if is_command else function.lineno) + 1


def test_no_function_is_longer_than_a_screen() -> None:
    long = []
    for package in PACKAGES:
        for module, path in modules(package):
            if "versions" in path.parts:
                continue  # a migration makes all tables
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines_of(node) > MOST_LINES:
                    long.append(f"{module}.{node.name}: {lines_of(node)} lines")
    assert long == []
