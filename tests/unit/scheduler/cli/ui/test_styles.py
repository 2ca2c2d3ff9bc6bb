"""How styles are shown."""

from datetime import UTC, datetime

import pytest

from nst_core.client.resources.styles import Style, StyleVersion
from nst_core.styles import shipped_styles
from scheduler.cli.ui import styles as style_render
from tests.unit.scheduler.canned_runs import RUN_ID
from tests.unit.scheduler.cli.ui.screen import lines_of

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


SIZES = pytest.mark.parametrize("width", [80, 120])


OLD = Style(
    name="night",
    version="ab" * 32,
    card={"title": "Night", "rights": "[free] " * 30, "training": {"steps": 2000, "seed": 0}, "parent": "udnie"},
)


NEW = Style(name="night", version="cd" * 32, card={"title": "Night", "training": {"steps": 3000, "seed": 0}})


def test_the_names_of_styles_are_never_cut_off() -> None:
    card = {"title": "The Wreck of a Transport Ship (The Shipwreck of the Minotaur)", "artist": "J. M. W. Turner"}
    names = ["wreck_of_the_minotaur", "a" * 40]
    lines = lines_of(style_render.styles_table([Style(name=name, version="ab" * 32, card=card) for name in names]))
    assert max(map(len, lines)) <= 80
    assert [name for name in names if any(line.split()[0] == name for line in lines)] == names


def test_a_style_shows_its_look_as_options_of_a_job() -> None:
    style = OLD.model_copy(update={"card": OLD.card | {"look": {"stroke": "varied", "forms": "planes"}}})
    lines = lines_of(style_render.style_page(style))
    assert any(line.split() == ["look", "stroke", "varied,", "forms", "planes"] for line in lines)
    for card in (OLD.card, OLD.card | {"look": {"stroke": None}}, OLD.card | {"look": "soft"}):
        lines = lines_of(style_render.style_page(OLD.model_copy(update={"card": card})))
        assert not any("stroke" in line for line in lines)


def test_a_shipped_style_shows_its_training_measurements_and_sources() -> None:
    shipped = next(style for style in shipped_styles() if style.name == "great_wave")
    lines = lines_of(style_render.style_page(Style(name=shipped.name, version="ab" * 32, card=shipped.card)), 200)
    shown = {name: rest for name, *rest in (line.split() for line in lines)}
    assert shown["steps"] == ["2,400"]
    assert shown["preset"] == ["quick,", "stroke", "1.6,", "strength", "0.7"]
    assert "loss_over_lbfgs50 1.111" in " ".join(shown["evaluation"])
    assert "style 7.406e+04" in " ".join(shown["losses"])
    assert "size_px 384" in " ".join(shown["config"])
    assert any(line.split()[:3] == ["made", "from", "painting_sha256:"] for line in lines)
    assert shown["photos:"][:2] == ["count", "1242,"]
    assert shown["initial_style:"] == ["great_wave"]
    assert "remarks" not in shown


def test_what_a_client_writes_into_a_card_is_shown_as_it_is() -> None:
    card = {"made_from": "a photo", "evaluation": {"remarks": ["It blots."]}, "steps": "many", "tags": ["a", 1]}
    lines = lines_of(style_render.style_page(OLD.model_copy(update={"card": card | {"training": [1], "data": {}}})))
    shown = {tuple(line.split()) for line in lines}
    assert {("made", "from", "a", "photo"), ("remarks", "It", "blots."), ("steps", "many")} <= shown
    assert ("tags", "a,", "1") in shown


def test_a_run_shows_what_was_asked_for() -> None:
    made = {"preset": "norms", "family": "painters", "stroke": 1.0, "strength": 1.0, "exact": True, "initial": None}
    lines = lines_of(style_render.style_page(OLD.model_copy(update={"card": {"made_from": made, "steps": 120}})), 120)
    shown = [line.strip() for line in lines]
    assert "preset  norms, family painters, stroke 1.0, strength 1.0, exact" in shown
    assert "steps  120" in shown
    assert not any("made from" in line for line in shown)


def test_text_is_never_taken_for_markup() -> None:
    style = Style(name="[red]x[/red]", version="ab" * 32, card={"title": "[bold]T", "artist": "[/]"})
    for page in (style_render.styles_table([style]), style_render.style_page(style)):
        text = "\n".join(lines_of(page))
        assert "[red]x[/red]" in text
        assert "[bold]T" in text


@SIZES
def test_versions_are_a_line_each_and_the_current_one_is_marked(width: int) -> None:
    made = StyleVersion(
        name="night", version="ab" * 32, card=OLD.card, current=True, run=RUN_ID, created_at="2026-11-22T01:00:00Z"
    )
    own = made.model_copy(update={"version": "ef" * 32, "current": False, "published": False})
    brought = StyleVersion(
        name="night", version="cd" * 32, card={"origin": "lengstrom/fast-style-transfer"}, created_at=made.created_at
    )
    lines = lines_of(style_render.versions_table([made, own, brought], now=NOW), width)
    assert lines[2].split() == ["abababababab", "current", "2,000", "11", "h", "ago", RUN_ID]
    assert lines[3].split() == ["efefefefefef", "private", "2,000", "11", "h", "ago", RUN_ID]
    assert lines[4].split() == ["cdcdcdcdcdcd", "–", "11", "h", "ago", "lengstrom/fast-style-transfer"]


@SIZES
def test_different_fields_of_cards_are_shown_side_by_side(width: int) -> None:
    lines = lines_of(style_render.diff_table(OLD, NEW), width)
    assert lines[0].split() == ["night@abababababab", "night@cdcdcdcdcdcd"]
    assert [line.split() for line in lines if "training" in line or "parent" in line] == [
        ["training.steps", "2000", "3000"],
        ["parent", "udnie", "–"],
    ]
    assert lines[-1] == "2 fields are equal (--all shows them)."
    assert not any("title" in line for line in lines)


def test_all_fields_of_cards_can_be_shown() -> None:
    lines = lines_of(style_render.diff_table(OLD, NEW, all_fields=True), 80)
    assert ["title", "Night", "Night"] in [line.split() for line in lines]
    assert not any("equal" in line for line in lines)


def test_equal_cards_are_said_to_be_equal() -> None:
    assert lines_of(style_render.diff_table(OLD, OLD.model_copy(update={"version": "cd" * 32})), 80) == [
        "The cards are equal."
    ]
