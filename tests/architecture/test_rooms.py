"""The packages depend on each other in one direction, and each module has tests of its name."""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("nst_core", "worker", "scheduler")
#: Modules without a unit test of their name, and why. Their behaviour is tested where it is named.
NO_UNIT_TEST = {
    "__main__": "starts a process; tests/e2e run it",
    "scheduler.app": "puts the scheduler together; tests/e2e and tests/faults run it",
    "scheduler.settings": "declares fields; tests/unit/nst_core/test_settings.py reads them",
    "scheduler.store": "is SQL: tests/integration run all of it on SQLite and PostgreSQL",
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


#: Still to go.
KNOWN = {("scheduler.styles", "scheduler.jobs"), ("scheduler.runs", "scheduler.jobs")}


def graph() -> Mapping[str, set[str]]:
    """Return which rooms each room imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for package in PACKAGES:
        for module, path in modules(package):
            for name in imports(path):
                there = name.split(".")[0] in PACKAGES and room(name) != room(module)
                if there and (room(module), room(name)) not in KNOWN:
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
