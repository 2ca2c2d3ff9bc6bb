"""Tests of scheduler.runs.cards."""

from dataclasses import replace

from nst_core.client.resources.runs import Parent
from nst_core.training.config import TrainConfig
from scheduler.runs.cards import make_card, method_line
from tests.unit.scheduler.runs.samples import FILE, RUN, SPEC


def test_a_card_says_what_the_client_knows_and_what_the_run_knows() -> None:
    spec = replace(
        SPEC,
        about={"title": "Night", "steps": 7},
        initial=FILE,
        initial_name="great_wave@aaaaaaaa",
        parent=Parent(run="run_0", step=30),
    )
    run = replace(
        RUN,
        spec=spec,
        step=100,
        config=TrainConfig(steps=100, network="vgg19").to_dict(),
        photos={"count": 184, "held_out": 16, "skipped": 2, "reasons": {"a.jpg": "damaged"}, "warning": None},
        result={"evaluation": {"ssim": 0.5}},
    )
    card = make_card(run, about=spec.about, final_losses={"total": 1.0})
    assert (card["title"], card["steps"], card["run"]) == ("Night", 100, "run_1")
    assert card["evaluation"] == {"ssim": 0.5}
    assert card["final_losses"] == {"total": 1.0}
    assert card["training"]["network"] == "vgg19"
    assert "VGG19" in card["method"]
    assert card["parent"] == {"run": "run_0", "step": 30}
    assert card["made_from"]["photos"] == {"count": 184, "held_out": 16, "skipped": 2}
    assert card["made_from"]["initial_sha256"] == FILE.sha256


def test_a_card_has_the_warning_about_the_photos() -> None:
    photos = {"count": 5, "held_out": 2, "skipped": 0, "reasons": {}, "warning": "Only 2 photos are held out."}
    card = make_card(replace(RUN, photos=photos), about={}, final_losses={})
    assert card["made_from"]["photos"]["warning"] == "Only 2 photos are held out."


def test_the_method_line_names_network_and_normalisation() -> None:
    line = method_line(TrainConfig().to_dict())
    assert line.endswith("with instance normalisation; VGG16 loss network")
