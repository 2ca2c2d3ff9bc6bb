"""The checks of tests.gpu run on a CPU, and need nothing but torch, NumPy, Pillow and safetensors."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("torch", "numpy", "pillow", "safetensors")


def required(names: tuple[str, ...]) -> Iterator[metadata.Distribution]:
    """Yield the distributions of these names, and those that they require, once each."""
    seen, todo = set(), list(names)
    while todo:
        name = re.split(r"[^a-z0-9-]", todo.pop().lower().replace("_", "-"))[0]
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # a requirement of another system
        yield found
        todo += [each for each in found.requires or () if "extra ==" not in each]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of links to the installed files of the four packages and of what they require."""
    folder = tmp_path_factory.mktemp("packages")
    for found in required(NEEDED):
        for name in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            place = folder / name
            if not place.exists():
                place.symlink_to(str(found.locate_file(name)))
    return folder


def run(packages: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python without its own packages, and with one thread, which is the fastest for tiny tensors."""
    env = {**os.environ, "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["pydantic", "boto3", "torchvision"])
def test_other_packages_are_out_of_reach(packages: Path, name: str) -> None:
    assert "ModuleNotFoundError" in run(packages, "-c", f"import {name}").stderr


def test_the_checks_pass_on_a_cpu_and_need_four_packages(packages: Path) -> None:
    done = run(packages, "-m", "tests.gpu", "--device", "cpu", "--quick")
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "without a GPU" in lines[0]
    results = [line.split("  ")[0] for line in lines if line.startswith(("PASS", "SKIP", "FAIL"))]
    # The memory of a CPU cannot be limited.
    assert (results.count("PASS"), results.count("SKIP")) == (17, 2)
    assert any(line.startswith("cuda in fp16, batches of") for line in lines)


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_does_not_exist_is_refused(packages: Path, device: str) -> None:
    done = run(packages, "-m", "tests.gpu", "--device", device)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
