"""The shipped styles: complete, valid, and each with its source."""

import pytest
from PIL import Image

from nst_core.nets.weights import load_transformer_bytes
from nst_core.styles import CARD_NAME, PLOT_NAME, SHEET_NAME, WEIGHTS_NAME, shipped_styles, version_of
from tests.shipped import shipped_style

NAMES = ["great_wave", "the_scream", "udnie", "wreck_of_the_minotaur"]


def test_shipped_styles_are_listed() -> None:
    styles = shipped_styles()
    assert [style.name for style in styles] == NAMES
    assert len({version_of(style.weights()) for style in styles}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_style_is_complete(name: str) -> None:
    style = shipped_style(name)
    files = {path.name for path in style.folder.iterdir()}
    assert files == {CARD_NAME, PLOT_NAME, SHEET_NAME, WEIGHTS_NAME}
    for file in (PLOT_NAME, SHEET_NAME):
        with Image.open(style.folder / file) as picture:
            picture.load()
            assert min(picture.size) > 300
    assert len(style.weights()) < 4_000_000


@pytest.mark.parametrize("name", NAMES)
def test_the_card_of_a_shipped_style_matches_its_network(name: str) -> None:
    style = shipped_style(name)
    card = style.card
    net = load_transformer_bytes(style.weights())
    assert net.config.to_dict() == card["training"]["transformer"]
    assert all(card[key] for key in ("title", "artist", "year", "rights", "final_losses", "run"))
    assert card["steps"] == card["training"]["steps"]
    # As good as 50 steps of optimising each photo, and without the faults that the evaluation checks.
    assert card["evaluation"]["loss_over_lbfgs50"] <= 1
    assert card["evaluation"]["remarks"] == []
