"""A field of a job is declared in one model, and where it is stored."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: The resource, the stored spec of a job, and the default of an installation.
ALLOWED = {
    "nst_core/client/resources/jobs.py",
    "scheduler/domain/jobs.py",
    "scheduler/settings.py",
}


def declarations(name: str) -> list[str]:
    """Return the files in which a class has an annotated field of a name, or a table a column, once for each."""
    found = []
    for package in ("nst_core", "worker", "scheduler"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if "versions" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    fields = [each.target for each in node.body if isinstance(each, ast.AnnAssign)]
                    hits = sum(isinstance(field, ast.Name) and field.id == name for field in fields)
                elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Column":
                    first = node.args[0]
                    hits = int(isinstance(first, ast.Constant) and first.value == name)
                else:
                    continue
                found += [path.relative_to(ROOT).as_posix()] * hits
    return found


def test_max_attempts_is_declared_once_in_each_place() -> None:
    assert sorted(declarations("max_attempts")) == sorted(ALLOWED)
