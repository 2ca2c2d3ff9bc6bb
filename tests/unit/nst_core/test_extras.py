"""How the extras of nst are installed."""

import tomllib
from pathlib import Path

import pytest

from nst_core.extras import install_command

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("extra", ["cli", "scheduler", "worker", "local", "tracing", "heic", "classifiers"])
def test_an_extra_is_installed_from_the_checkout(extra: str) -> None:
    assert install_command(extra) == f"`pip install '.[{extra}]'` in the checkout of nst"
    assert extra in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_no_message_names_a_package_that_no_index_has() -> None:
    files = [path for room in ("nst_core", "scheduler", "worker") for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 300
    assert [path for path in files if "nst[" in path.read_text()] == []
