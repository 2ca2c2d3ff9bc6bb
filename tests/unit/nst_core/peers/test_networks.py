"""Imported networks match the peers' networks, compared with slow implementations of their descriptions."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nst_core.nets.transformer import TransformerNet
from nst_core.nets.transformer_config import TransformerConfig
from nst_core.peers.detect import identify
from tests.unit.nst_core.peers.readings import (
    Array,
    lengstrom,
    lengstrom_variables,
    npz_file,
    photo,
    pytorch_examples,
    pytorch_examples_state,
    torch_file,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def run(net: TransformerNet, picture: Array) -> Array:
    """Return the net's result on a picture in 0 to 255, on that scale."""
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    result: Array = net(x)[0].permute(1, 2, 0).double().numpy() * 255
    return result


@pytest.mark.parametrize(
    ("reading", "data", "first"),
    [
        (lambda p: pytorch_examples(pytorch_examples_state(), p), torch_file(pytorch_examples_state()), True),
        (lambda p: lengstrom(lengstrom_variables(), p), npz_file(lengstrom_variables()), False),
    ],
    ids=["pytorch_examples", "lengstrom"],
)
def test_the_other_crop_would_not_line_up(reading: Callable[[Array], Array], data: bytes, first: bool) -> None:
    picture = photo(18, 19)
    expected, got = reading(picture), run(identify(data).net, picture)
    wrong = expected[-18:, -19:] if first else expected[:18, :19]
    assert np.abs(got - wrong).mean() > 1


def test_the_configs_are_those_of_the_peers() -> None:
    assert identify(torch_file(pytorch_examples_state(width=5, blocks=3))).net.config == TransformerConfig(
        width=5, blocks=3, crop="end"
    )
    assert identify(npz_file(lengstrom_variables(width=5, blocks=3))).net.config == TransformerConfig(
        width=5,
        blocks=3,
        upsample="transposed",
        padding="same",
        output="tanh",
        norm_eps=1e-3,
        head_norm=True,
        crop="start",
    )


def test_networks_are_distinguished_by_their_content() -> None:
    assert identify(torch_file(pytorch_examples_state())).origin == "pytorch/examples"
    assert identify(npz_file(lengstrom_variables())).origin == "lengstrom/fast-style-transfer"


def test_an_imported_network_is_ready_to_use() -> None:
    for data in (torch_file(pytorch_examples_state()), npz_file(lengstrom_variables())):
        net = identify(data).net
        assert not net.training
        assert all(p.dtype == torch.float32 and not p.requires_grad and p.is_contiguous() for p in net.parameters())
