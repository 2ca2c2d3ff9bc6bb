"""The shipped styles: complete, valid, and each with its source."""

import csv
import re
from dataclasses import replace

import pytest
import torch
from PIL import Image

from nst_core.nets.families import one_style, without_palettes
from nst_core.nets.weights import load_transformer, load_transformer_bytes
from nst_core.styles import (
    CARD_NAME,
    IDENTITY,
    PAINTINGS_NAME,
    PLOT_NAME,
    PREDICTOR_NAME,
    SHEET_NAME,
    STYLES_NAME,
    WEIGHTS_NAME,
    Family,
    families,
    shipped_styles,
    version_of,
)
from tests.gallery import OVERVIEW, PAGE, page
from tests.shipped import shipped_style

NAMES = [
    "castle_and_sun",
    "composition_vii",
    "composition_viii",
    "edtaonisl",
    "great_wave",
    "little_blue_horse",
    "night_cafe",
    "peacock_skirt",
    "portrait_of_metzinger",
    "red_tower",
    "starry_night",
    "street_berlin",
    "the_scream",
    "three_tahitian_women",
    "turning_road",
    "udnie",
    "wheat_field",
    "woman_with_a_hat",
    "wreck_of_the_minotaur",
]


def test_shipped_styles_are_listed() -> None:
    styles = shipped_styles()
    assert [style.name for style in styles] == NAMES
    assert len({version_of(style.weights()) for style in styles}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_style_is_complete(name: str) -> None:
    style = shipped_style(name)
    own = {WEIGHTS_NAME, PLOT_NAME} if style.family is None else set()
    assert {path.name for path in style.folder.iterdir()} == {CARD_NAME, SHEET_NAME} | own
    assert len(style.weights()) < 4_000_000
    assert load_transformer_bytes(style.weights(), style=None).config.fades(0)
    pictures = [style.folder / SHEET_NAME, style.folder / PLOT_NAME]
    if style.family is not None:
        folder = style.family.file.parent
        own = {WEIGHTS_NAME, STYLES_NAME, PLOT_NAME, PREDICTOR_NAME, PAINTINGS_NAME}
        assert {path.name for path in folder.iterdir()} == own
        pictures[1] = folder / PLOT_NAME
    for file in pictures:
        with Image.open(file) as picture:
            picture.load()
            assert min(picture.size) > 300


def test_shipped_styles_can_be_blended_with_each_other() -> None:
    first, *others = (load_transformer_bytes(style.weights(), style=None).config for style in shipped_styles())
    assert all(first.blends_with(other) for other in others)


@pytest.mark.parametrize("name", NAMES)
def test_the_card_of_a_shipped_style_matches_its_network(name: str) -> None:
    style = shipped_style(name)
    card = style.card
    net = load_transformer_bytes(style.weights())
    assert net.config.palette
    assert without_palettes(net).config.to_dict() == card["training"]["transformer"]
    assert all(card[key] for key in ("title", "artist", "year", "rights", "final_losses", "run"))
    assert card["steps"] == card["training"]["steps"]
    # Worth some iterations of optimising each photo, and without the faults that the evaluation checks.
    assert card["evaluation"]["loss_over_lbfgs50"] <= 2
    assert card["evaluation"]["remarks"] == []


def test_a_style_of_a_family_is_that_of_its_index_and_has_the_identity() -> None:
    style = shipped_style("udnie")
    family = style.family
    assert family is not None
    assert families()[family.name] == family
    whole, found = load_transformer(family.file, style=None), load_transformer_bytes(style.weights(), style=None)
    assert found.config == replace(whole.config, styles=2, identity=True)
    for ours, name in enumerate(("udnie", IDENTITY)):
        expected = one_style(whole, family.styles.index(name)).state_dict()
        for key, tensor in one_style(found, ours).state_dict().items():
            assert torch.equal(tensor, expected[key])


def test_the_weights_of_a_family_have_all_its_styles() -> None:
    for family in families().values():
        config = load_transformer_bytes(family.weights(), style=None).config
        assert config.styles == len(family.styles)
        assert config.identity == family.has_identity


def test_the_gallery_shows_the_cards_of_now() -> None:
    """`python -m tests.gallery --page` writes it anew."""
    assert PAGE.read_text() == page(shipped_styles())
    with Image.open(OVERVIEW) as picture:
        assert picture.width > 1000


@pytest.mark.parametrize("family", families().values(), ids=lambda family: str(family.name))
def test_predictors_learned_from_paintings_in_the_public_domain(family: Family) -> None:
    # Free where the term is life and 70 years, and in the USA.
    with open(family.file.with_name(PAINTINGS_NAME), encoding="utf-8", newline="") as file:
        paintings = list(csv.DictReader(file))
    assert len(paintings) > 100
    assert len({(each["artist"], each["title"]) for each in paintings}) == len(paintings)
    for each in paintings:
        made, died = (int(re.findall(r"[0-9]{4}", each[name])[-1]) for name in ("made", "died"))
        assert made < 1930, each
        assert died < 1955, each
