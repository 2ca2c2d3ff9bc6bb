"""Tests of nst_core.peers.gordicaleksa."""

import numpy as np
import pytest
import torch

from nst_core.nets.transformer import TransformerNet
from nst_core.peers.detect import identify
from tests.unit.nst_core.peers.readings import (
    Array,
    gordicaleksa,
    gordicaleksa_state,
    photo,
    pytorch_examples_state,
    torch_file,
)

pytestmark = pytest.mark.usefixtures("one_thread")
#: The largest difference from the original that an import may have, in grey levels of 255.
TOLERANCE = 0.01


def run(net: TransformerNet, picture: Array) -> Array:
    """Return the net's result on a picture in 0 to 255, on that scale."""
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    result: Array = net(x)[0].permute(1, 2, 0).double().numpy() * 255
    return result


@pytest.mark.parametrize("nested", [True, False])
def test_a_network_of_gordicaleksa_takes_normalised_values(nested: bool) -> None:
    state = pytorch_examples_state()
    state["deconv3.conv2d.weight"] = state["deconv3.conv2d.weight"] / 60
    state["deconv3.conv2d.bias"] = torch.tensor([0.3, -0.2, 0.1])
    picture = photo(18, 23)
    expected = gordicaleksa(state, picture)
    assert expected.std() > 20
    got = run(identify(torch_file({"state_dict": gordicaleksa_state(state, nested=nested)})).net, picture)
    np.testing.assert_allclose(got, expected[:18, :23], rtol=0, atol=TOLERANCE)
