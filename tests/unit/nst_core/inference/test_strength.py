"""Tests of nst_core.inference.strength."""

import pytest

from nst_core.inference.strength import mixed_share, painted_share


@pytest.mark.parametrize("fades", [False, True])
def test_no_strength_is_the_photo_and_full_strength_the_style(fades: bool) -> None:
    assert mixed_share(0.0, fades=fades) == 0
    assert (painted_share(1.0, fades=fades), mixed_share(1.0, fades=fades)) == (1, 1)


def test_a_network_without_the_identity_is_mixed_alone() -> None:
    assert (painted_share(0.3, fades=False), mixed_share(0.3, fades=False)) == (1, 0.3)


def test_the_more_a_network_paints_the_less_of_the_photo_is_mixed_in() -> None:
    assert painted_share(0.3, fades=True) == 0.3
    shares = [mixed_share(strength / 10, fades=True) for strength in range(11)]
    assert shares == sorted(shares)
    assert shares[5] == pytest.approx(0.75)
