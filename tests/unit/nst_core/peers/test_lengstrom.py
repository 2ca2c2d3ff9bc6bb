"""Tests of nst_core.peers.lengstrom."""

import numpy as np
import pytest
import torch

from nst_core.nets.transformer import TransformerNet
from nst_core.peers.detect import identify
from tests.unit.nst_core.peers.readings import (
    Array,
    lengstrom,
    lengstrom_variables,
    npz_file,
    photo,
)

pytestmark = pytest.mark.usefixtures("one_thread")
#: Every remainder by 4, and both parities after the first halving.
SIZES = [(16, 20), (17, 18), (18, 19), (19, 17), (20, 21), (22, 26), (23, 16)]
#: The largest difference from the original that an import may have, in grey levels of 255.
TOLERANCE = 0.01


def run(net: TransformerNet, picture: Array) -> Array:
    """Return the net's result on a picture in 0 to 255, on that scale."""
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    result: Array = net(x)[0].permute(1, 2, 0).double().numpy() * 255
    return result


def rounded_up(length: int) -> int:
    return -(-length // 4) * 4


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("blocks", [0, 2])
def test_a_network_of_lengstrom_gives_the_last_rows_and_columns(height: int, width: int, blocks: int) -> None:
    variables = lengstrom_variables(blocks=blocks)
    expected = lengstrom(variables, photo(height, width))
    assert expected.shape == (rounded_up(height), rounded_up(width), 3)
    assert expected.std() > 20
    got = run(identify(npz_file(variables)).net, photo(height, width))
    np.testing.assert_allclose(got, expected[-height:, -width:], rtol=0, atol=TOLERANCE)
