"""A training on a machine whose compiler does not work."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import logging, sys, torch
from nst_core.nets.loss_network import load_loss_network
from nst_core.training.config import TrainConfig
from nst_core.training.trainer import Trainer
from tests.unit.nst_core.training.kit import TINY, MemoryPhotos, encoded, soft_picture, stripes

logging.basicConfig(stream=sys.stdout, format="%(message)s")

photos = MemoryPhotos({"a.png": encoded(soft_picture(1)), "b.png": encoded(soft_picture(2))})

def losses(compiled):
    trainer = Trainer(TINY, network=load_loss_network(TINY.layers), style=stripes(), photos=photos,
                      device=torch.device("cpu"), precision="fp32", compiled=compiled)
    made = [trainer.step().total for _ in range(3)]
    trainer.close()
    return made

assert losses(True) == losses(False)
print("equal")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a script stands for the compiler")
def test_a_training_continues_without_a_broken_compiler(tmp_path: Path) -> None:
    broken = tmp_path / "g++"
    broken.write_text("#!/bin/sh\necho internal compiler error >&2\nexit 1\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    env = {**os.environ, "CXX": str(broken), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    root = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert lines[-1] == "equal"
    assert sum("the training is not compiled" in line for line in lines) == 1
