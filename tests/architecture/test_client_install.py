"""The client works with the base dependencies of nst alone."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Packages that only extras of nst install.
EXTRAS = (
    *("celery", "kombu", "redis", "boto3", "botocore", "numpy", "PIL", "torch", "safetensors"),
    *("typer", "rich", "pydantic_settings", "fastapi", "starlette", "sqlalchemy", "prometheus_client"),
)
BLOCKED = f"""
import sys
from importlib.abc import MetaPathFinder


class Block(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Block())
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter in which the packages of the extras cannot be imported."""
    return subprocess.run([sys.executable, "-c", BLOCKED + code], cwd=ROOT, capture_output=True, text=True)


def test_a_client_is_made_with_the_base_dependencies() -> None:
    done = run(
        "from nst_core.client import Client, JobInput, JobRequest\n"
        "request = JobRequest(input=JobInput(prefix='s3://nst/in/'), styles=('great_wave',))\n"
        "with Client('http://127.0.0.1:1', 'nst_key') as client:\n"
        "    print(client.url, request.model_dump(exclude_unset=True)['styles'])\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'scheduler', 'worker'}))\n"
    )
    assert done.stderr == ""
    assert done.stdout == "http://127.0.0.1:1 ('great_wave',)\n[]\n"


def test_the_base_dependencies_are_those_of_the_client() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [each.partition(">")[0] for each in project["dependencies"]] == ["httpx", "pydantic"]


def test_the_command_line_names_the_extra_that_it_needs() -> None:
    done = run("from scheduler.cli import main\nmain()\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("nst: error: The Python package ")
    assert "pip install '.[cli]'" in done.stderr
    assert done.stderr.count("\n") == 1
