"""Tests of nst_core.inference.selection."""

from pathlib import Path
from typing import Any

import pytest

import nst_core
from nst_core.errors import ConfigError, EngineError
from nst_core.inference import selection
from nst_core.inference.eager import EagerStylizer
from nst_core.inference.likeness import psnr_db
from nst_core.inference.selection import choose
from nst_core.inference.stylizer import EXACT, EngineChoice, Pixels
from nst_core.nets import native
from tests.unit.nst_core.nets.native_kit import needs_compiler

OPENVINO = EngineChoice(engine="openvino", precision="fp32")
NATIVE = EngineChoice(engine="native", precision="fp32")
INTEGERS = EngineChoice(engine="native", precision="int16")
BFLOAT16 = EngineChoice(engine="openvino", precision="bf16")


def play(
    monkeypatch: pytest.MonkeyPatch, *, capability: str, openvino: list[str], amx: bool = False, compiler: bool = True
) -> None:
    """Let this machine have another processor; all that it computes is the reference."""
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": amx})
    monkeypatch.setattr(selection, "precisions", lambda: openvino)
    monkeypatch.setattr(native, "library", lambda: object() if compiler else None)
    monkeypatch.setattr(selection, "_small_stylizer", lambda choice: EagerStylizer(selection._small_net()))


@pytest.mark.parametrize(
    ("capability", "openvino", "amx", "chosen", "without_compiler"),
    [
        ("AVX2", ["fp32", "int8"], False, INTEGERS, OPENVINO),
        ("AVX512", ["fp32", "bf16", "int8"], False, INTEGERS, BFLOAT16),
        ("AVX512", ["fp32", "bf16", "int8"], True, BFLOAT16, BFLOAT16),
        ("AVX512", [], True, INTEGERS, EXACT),
        ("DEFAULT", ["fp32", "int8"], False, NATIVE, OPENVINO),
        ("DEFAULT", [], False, NATIVE, EXACT),
    ],
)
def test_what_the_processor_can_do_decides(
    monkeypatch: pytest.MonkeyPatch,
    capability: str,
    openvino: list[str],
    amx: bool,
    chosen: EngineChoice,
    without_compiler: EngineChoice,
) -> None:
    play(monkeypatch, capability=capability, openvino=openvino, amx=amx)
    assert choose("cpu") == chosen
    play(monkeypatch, capability=capability, openvino=openvino, amx=amx, compiler=False)
    assert choose("cpu") == without_compiler


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
    photo = selection._photo()
    reference = EagerStylizer(selection._small_net())(photo)
    for choice, least_db in ((EXACT, float("inf")), (OPENVINO, 60), (NATIVE, 60), (INTEGERS, 45)):
        assert psnr_db(selection._small_stylizer(choice)(photo), reference) >= least_db
    assert choose("cpu") != EXACT


@needs_compiler
def test_the_native_engine_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("cpu", engine="native").engine == "native"
    assert choose("cpu", engine="native", precision="int16") == INTEGERS
    monkeypatch.setattr(native, "library", lambda: None)
    with pytest.raises(ConfigError, match="cannot run the engine native"):
        choose("cpu", engine="native")


def broken(batch: Pixels) -> Pixels:
    """Fail as a library does whose kernel is missing."""
    raise RuntimeError("could not create a primitive")


def wrong(batch: Pixels) -> Pixels:
    """Compute what a miscompiled kernel might."""
    return EagerStylizer(selection._small_net())(255 - batch)


@pytest.mark.parametrize(
    ("stylizer", "message"),
    [
        (broken, "native in int16 does not work on this machine: RuntimeError('could not"),
        (wrong, "native in int16 computes wrongly on this machine: "),
    ],
)
def test_an_engine_that_fails_here_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, stylizer: Any, message: str
) -> None:
    play(monkeypatch, capability="AVX2", openvino=["fp32"])
    small = selection._small_stylizer
    monkeypatch.setattr(selection, "_small_stylizer", lambda each: stylizer if each == INTEGERS else small(each))
    assert choose("cpu") == NATIVE
    assert message in caplog.text
    monkeypatch.setattr(selection, "_small_stylizer", lambda each: stylizer)
    with pytest.raises(EngineError, match="None of these engines works on this machine: native in fp32, native in int"):
        choose("cpu", engine="native")


def test_the_choice_for_a_card_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # There may be no card: only what it answers is played.
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a card")
    monkeypatch.setattr(selection, "bf16_pays", lambda device: True)
    monkeypatch.setattr(selection, "probe", lambda device: "fp16")
    first = choose("cuda", folder=tmp_path)
    monkeypatch.setattr(selection, "probe", lambda device: pytest.fail("measured again"))
    assert choose("cuda", folder=tmp_path) == first
    assert choose("cuda", engine="eager", folder=tmp_path) == EXACT
    monkeypatch.setattr(nst_core, "__version__", "99")
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        choose("cuda", folder=tmp_path)


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
