"""The Dockerfile and the locks of the images."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
TARGETS = ("scheduler", "worker-cpu", "worker-cuda")
#: The extra of pyproject.toml that each lock installs.
EXTRAS = {"scheduler": "scheduler", "worker-cpu": "worker", "worker-cuda": "worker"}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*])?==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)


def stages() -> dict[str, str]:
    """Return the text of each stage of the Dockerfile, with that of the stages that it begins with."""
    found: dict[str, str] = {}
    for stage in re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]:
        parent, _, rest = stage.partition(" AS ")
        name, _, body = rest.partition("\n")
        found[name] = found.get(parent, "") + body
    return found


def pins(lock: str) -> dict[str, str]:
    """Return the version of each package in a lock."""
    text = (DOCKER / "requirements" / f"{lock}.txt").read_text()
    found: dict[str, str] = {canonicalize_name(name): version for name, version, _ in _PIN.findall(text)}
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(found) == len(lines), "each line is a version with its hashes"
    return found


def wanted(extra: str) -> list[Requirement]:
    """Return the requirements of an extra, those of the extras in it, and those of the package itself."""
    found = [Requirement(line) for line in PYPROJECT["dependencies"]]
    for requirement in map(Requirement, PYPROJECT["optional-dependencies"][extra]):
        found += [each for name in requirement.extras for each in wanted(name)] if requirement.name == "nst" else []
        found += [requirement] if requirement.name != "nst" else []
    return found


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    program = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([program, DOCKER / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_a_user_by_number_and_passes_signals_on(target: str) -> None:
    stage = stages()[target]
    assert re.findall(r"^USER (.*)$", stage, re.MULTILINE) == ["10001:10001"]
    assert 'ENTRYPOINT ["/usr/bin/tini", "--"]' in stage
    assert re.search(r'^CMD \["python", "-m", "(scheduler|worker)"\]$', stage, re.MULTILINE)
    assert '    CMD ["python", "-m", "nst_core.system.heartbeat"]' in stage
    assert "NST_HEARTBEAT_FILE=/tmp/" in stage


def test_the_base_is_pinned_and_can_be_replaced() -> None:
    assert re.search(r"^ARG BASE=\S+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE)
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    assert bases - stages().keys() == {"${BASE}"}


def test_only_the_images_of_workers_have_a_compiler() -> None:
    assert {name for name in TARGETS if "g++" in stages()[name]} == {"worker-cpu", "worker-cuda"}


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_is_in_it(target: str) -> None:
    assert f"COPY --from=sbom /sbom/{target}.json /usr/share/doc/nst/sbom.json\n" in stages()[target]
    assert f" {target}" in re.findall(r"for image in(.*); do", stages()["sbom"])[0]
    assert "cyclonedx-bom" in pins("sbom")


@pytest.mark.parametrize("target", TARGETS)
def test_a_lock_has_what_the_package_requires(target: str) -> None:
    locked = pins(target)
    for requirement in [*wanted(EXTRAS[target]), *wanted("tracing")]:
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{requirement} is not in the lock: make locks"
        assert Version(locked[name]) in requirement.specifier, f"{requirement} has {locked[name]}: make locks"


def test_the_scheduler_has_no_torch_and_a_worker_no_database_driver() -> None:
    for name in ("torch", "openvino", "safetensors"):
        assert name not in pins("scheduler")
    for name in ("sqlalchemy", "psycopg", "fastapi"):
        assert name not in pins("worker-cpu").keys() | pins("worker-cuda").keys()


def test_torch_is_built_for_cpus_in_one_lock_and_for_gpus_in_the_other() -> None:
    cpu, cuda = pins("worker-cpu"), pins("worker-cuda")
    assert Version(cpu["torch"]).local == "cpu"
    assert not [name for name in cpu if name.startswith(("nvidia-", "triton"))]
    assert Version(cuda["torch"]).local is None
    assert "nvidia-cudnn-cu13" in cuda


def test_locks_agree_on_shared_packages() -> None:
    locks = [pins(target) for target in TARGETS]
    different = {name: [lock.get(name) for lock in locks] for name in set.union(*map(set, locks))}
    assert {name for name, versions in different.items() if len({*versions} - {None}) > 1} <= {"torch"}


def test_the_build_context_is_what_the_dockerfile_copies() -> None:
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE):
        copied |= set(line.split()[:-1])
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert lines[1] == "*"
    assert {re.sub(r"[^/]*\.txt$", "*.txt", path) for path in copied} == allowed
