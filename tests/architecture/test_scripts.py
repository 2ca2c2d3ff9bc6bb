"""Programs that tests start as text import modules that exist: no linter reads those texts."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_IMPORT = re.compile(r"^\s*(?:from|import) ((?:nst_core|worker|scheduler)(?:\.\w+)*)", re.MULTILINE)


@pytest.mark.parametrize("folder", ["unit", "integration", "e2e", "faults", "benchmarks", "gpu"])
def test_imported_modules_exist(folder: str) -> None:
    missing = []
    for path in sorted((ROOT / "tests" / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                names = [name for name in _IMPORT.findall(node.value) if not _exists(name)]
                missing += [f"{path.relative_to(ROOT)}: {name}" for name in names]
    assert missing == []


def _exists(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()
