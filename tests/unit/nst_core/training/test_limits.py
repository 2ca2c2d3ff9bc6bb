"""Tests of nst_core.training.limits; `test_memory_limits` has those of the requests that they refuse."""

import subprocess
import sys

import pytest

from nst_core.errors import ConfigError
from nst_core.training.config import TrainConfig
from nst_core.training.limits import check_limits
from nst_core.training.presets import presets


@pytest.mark.parametrize("name", presets())
def test_presets_are_within_the_limits(name: str) -> None:
    check_limits(presets()[name].config)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"network": "vgg16_imagenet"}, "network"),
        ({"batch_size": 64, "size_px": 512}, None),
        ({"style_crops": 10_000}, "style_crops"),
        ({"style_size_px": 16_384}, "style_size_px"),
    ],
)
def test_what_is_beyond_them_is_refused_by_its_field(options: dict[str, object], field: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        check_limits(TrainConfig.from_dict(options))
    assert caught.value.field == field


def test_they_are_known_without_torch() -> None:
    code = "import sys, nst_core.training.limits; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
