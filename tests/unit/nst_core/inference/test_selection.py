"""Tests of nst_core.inference.selection."""

from pathlib import Path
from typing import Any

import pytest

import nst_core
from nst_core.errors import ConfigError, EngineError
from nst_core.inference import selection
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.selection import Measured, choose, fastest, measure
from nst_core.inference.stylizer import EXACT, EngineChoice, Pixels, Precision
from nst_core.nets import native
from tests.unit.nst_core.nets.native_kit import needs_compiler


def measured(engine: str, precision: Precision, *, ms: float, psnr: float = 50.0) -> Measured:
    return Measured(choice=EngineChoice(engine=engine, precision=precision), seconds=ms / 1000, psnr_db=psnr)


OPENVINO = EngineChoice(engine="openvino", precision="fp32")
NATIVE = EngineChoice(engine="native", precision="fp32")
INTEGERS = EngineChoice(engine="native", precision="int16")
EAGER = measured("eager", "fp32", ms=100, psnr=float("inf"))


def test_the_fastest_is_chosen() -> None:
    candidates = [EAGER, measured("openvino", "fp32", ms=50), measured("openvino", "bf16", ms=10)]
    assert fastest(candidates) == EngineChoice(engine="openvino", precision="bf16")


def test_a_lower_precision_has_to_be_worth_it() -> None:
    candidates = [EAGER, measured("openvino", "fp32", ms=50), measured("openvino", "bf16", ms=40)]
    assert fastest(candidates) == EngineChoice(engine="openvino", precision="fp32")


def test_an_engine_that_is_clearly_slower_here_is_not_chosen() -> None:
    assert fastest([EAGER, measured("openvino", "fp32", ms=210)]) == EXACT


def test_an_engine_that_other_programs_have_slowed_down_is_chosen() -> None:
    assert fastest([EAGER, measured("openvino", "fp32", ms=190)]).engine == "openvino"


def test_an_engine_that_computes_wrongly_here_is_not_chosen() -> None:
    candidates = [EAGER, measured("openvino", "fp32", ms=50), measured("openvino", "bf16", ms=1, psnr=12)]
    assert fastest(candidates) == EngineChoice(engine="openvino", precision="fp32")


def test_settings_decide() -> None:
    assert choose("cpu", engine="eager") == EXACT
    assert choose("cpu", engine="openvino", precision="fp32") == EngineChoice(engine="openvino", precision="fp32")


@pytest.mark.parametrize(
    ("engine", "precision"), [("steam", "auto"), ("eager", "bf16"), ("auto", "int4"), ("cuda", "auto")]
)
def test_what_this_machine_cannot_run_is_refused(engine: str, precision: str) -> None:
    message = f"cannot run the engine {engine} with the precision {precision}; it has eager fp32"
    with pytest.raises(ConfigError, match=message):
        choose("cpu", engine=engine, precision=precision)


def test_integers_are_chosen_by_the_settings_only() -> None:
    assert choose("cpu", precision="int8") == EngineChoice(engine="openvino", precision="int8")
    assert choose("cpu").precision != "int8"


@needs_compiler
def test_every_engine_of_this_machine_computes_correctly() -> None:
    reference, *fast = measure([EXACT, OPENVINO, NATIVE, INTEGERS])
    assert reference.psnr_db == float("inf")
    assert [each.psnr_db > least for each, least in zip(fast, (60, 60, 45), strict=True)] == [True] * 3
    assert choose("cpu") != EXACT


def test_of_engines_that_are_as_exact_the_last_one_is_chosen_unless_it_is_clearly_slower() -> None:
    candidates = [EAGER, measured("openvino", "fp32", ms=50), measured("native", "fp32", ms=70)]
    assert fastest(candidates).engine == "native"
    assert fastest([*candidates[:2], measured("native", "fp32", ms=110)]).engine == "openvino"
    assert fastest([*candidates, measured("openvino", "bf16", ms=60)]).engine == "native"
    assert fastest([*candidates, measured("openvino", "bf16", ms=20)]).precision == "bf16"


@needs_compiler
def test_the_native_engine_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("cpu", engine="native").engine == "native"
    assert choose("cpu", engine="native", precision="int16") == INTEGERS
    monkeypatch.setattr(native, "library", lambda: None)
    with pytest.raises(ConfigError, match="cannot run the engine native"):
        choose("cpu", engine="native")


class BrokenStylizer:
    """Raises an error from a call on."""

    def __init__(self, *, calls: int) -> None:
        self._calls = calls
        self._stylizer = EagerStylizer(selection._small_net())

    def __call__(self, batch: Pixels) -> Pixels:
        self._calls -= 1
        if self._calls < 0:
            raise RuntimeError("could not create a primitive")
        return self._stylizer(batch)


@pytest.mark.parametrize("calls", [0, 3])
def test_an_engine_that_fails_here_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, calls: int
) -> None:
    small = selection._small_stylizer
    broken = BrokenStylizer(calls=calls)
    monkeypatch.setattr(selection, "_small_stylizer", lambda each: broken if each == OPENVINO else small(each))
    assert [each.choice for each in measure([EXACT, OPENVINO])] == [EXACT]
    assert "openvino in fp32 does not work on this machine: RuntimeError('could not" in caplog.text
    with pytest.raises(EngineError, match="None of these engines works on this machine: openvino in fp32"):
        measure([OPENVINO])


def test_a_kept_choice_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = choose("cpu", folder=tmp_path)
    monkeypatch.setattr(selection, "measure", lambda choices: pytest.fail("measured again"))
    assert choose("cpu", folder=tmp_path) == first
    assert choose("cpu", engine="eager", folder=tmp_path) == EXACT
    monkeypatch.setattr(nst_core, "__version__", "99")
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        choose("cpu", folder=tmp_path)


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ({}, ("cuda", "fp16")),
        ({"engine": "eager"}, ("eager", "fp32")),
        ({"precision": "fp32"}, ("cuda", "fp32")),
        ({"precision": "bf16"}, ("cuda", "bf16")),
        ({"engine": "cuda"}, ("cuda", "fp16")),
    ],
)
def test_the_probe_of_a_card_decides_there(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], chosen: tuple[str, str]
) -> None:
    # There may be no card: only what it answers is played, and the rule that follows from it is tested.
    monkeypatch.setattr(selection, "bf16_pays", lambda device: True)
    monkeypatch.setattr(selection, "probe", lambda device: "fp16")
    choice = choose("cuda", **settings)
    assert (choice.engine, choice.precision) == chosen


def test_a_card_without_bf16_does_not_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "bf16_pays", lambda device: False)
    with pytest.raises(ConfigError, match="it has eager fp32, cuda fp32, cuda fp16"):
        choose("cuda", precision="bf16")
