"""Which package may load which: each module alone, in a fresh interpreter."""

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Modules of nst_core that never load torch.
LIGHT = (
    *("clock", "digests", "errors", "formats", "images", "metrics", "settings", "styles"),
    *("decoding.child", "decoding.decoder", "decoding.process"),
    *("protocol.chunks", "protocol.codec", "protocol.events", "protocol.segments", "protocol.signing"),
    *("queue.connection", "queue.transport", "storage.blobs"),
    *("system.budget", "system.files", "system.heartbeat", "system.memory", "system.monitoring"),
    *(
        "gatys.config",
        "gatys.presets",
        "inference.stylizer",
        "training.config",
        "nets.transformer_config",
        "nets.weights_header",
        "nets.safetensors_header",
        "nets.vgg_layers",
    ),
)


def modules(package: str) -> list[str]:
    """Return the names of a package and of all modules in it, but for those that run when imported."""
    found = [info.name for info in pkgutil.walk_packages([str(ROOT / package)], prefix=f"{package}.")]
    return [package, *(name for name in found if not name.endswith((".__main__", ".env")) and ".versions." not in name)]


def loaded_by(names: list[str], suspects: list[str]) -> list[str]:
    """Import modules in a fresh interpreter and return which of the suspects were loaded."""
    script = f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\n"
    script += f"print([name for name in {suspects!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    result: list[str] = eval(done.stdout)
    return result


def test_scheduler_never_loads_torch() -> None:
    names = modules("scheduler")
    assert len(names) > 20
    assert (
        loaded_by(
            names, ["torch", "torchvision", "safetensors", "worker", "nst_core.system.otlp", "opentelemetry.exporter"]
        )
        == []
    )


def test_worker_never_loads_the_scheduler_or_a_database() -> None:
    names = modules("worker")
    assert len(names) > 5
    assert (
        loaded_by(
            names, ["sqlalchemy", "scheduler", "alembic", "fastapi", "nst_core.system.otlp", "opentelemetry.exporter"]
        )
        == []
    )


def test_light_modules_of_the_core_never_load_torch() -> None:
    names = ["nst_core", *(f"nst_core.{name}" for name in LIGHT)]
    assert loaded_by(names, ["torch", "scheduler", "worker"]) == []


def test_importing_the_core_loads_nothing_of_it() -> None:
    assert loaded_by(["nst_core"], [f"nst_core.{name}" for name in LIGHT]) == []


@pytest.mark.parametrize("package", ["nst_core", "worker", "scheduler"])
def test_every_module_and_public_name_is_documented(package: str) -> None:
    missing = []
    for path in sorted((ROOT / package).rglob("*.py")):
        if "versions" in path.parts:
            continue
        tree = ast.parse(path.read_text())
        if not ast.get_docstring(tree):
            missing.append(str(path.relative_to(ROOT)))
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node):
                missing.append(f"{path.relative_to(ROOT)}: {node.name}")
    assert missing == []
