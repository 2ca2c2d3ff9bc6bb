"""Tests of nst_core.inference.openvino_runtime."""

import subprocess
import sys
from pathlib import Path


def test_the_runtime_reports_nothing_to_anybody(tmp_path: Path) -> None:
    script = """
import sys
from nst_core.inference.openvino_runtime import runtime
runtime().Core()
assert not [name for name in sys.modules if "telemetry" in name], sys.modules
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        env={"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.iterdir()) == []
