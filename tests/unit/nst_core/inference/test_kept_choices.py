"""Tests of nst_core.inference.kept_choices."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from nst_core.inference.kept_choices import kept
from nst_core.inference.stylizer import EXACT, EngineChoice

FAST = EngineChoice(engine="openvino", precision="bf16")


def never() -> EngineChoice:
    pytest.fail("chosen again")


def test_a_choice_is_kept_by_its_key(tmp_path: Path) -> None:
    file = tmp_path / "engines.json"
    assert kept(file, "a", lambda: FAST) == FAST
    assert kept(file, "b", lambda: EXACT) == EXACT
    assert kept(file, "a", never) == FAST
    assert kept(file, "b", never) == EXACT


def test_two_processes_that_start_at_the_same_time_choose_alike(tmp_path: Path) -> None:
    entered, go = Event(), Event()

    def slowly() -> EngineChoice:
        entered.set()
        assert go.wait(30)
        return FAST

    with ThreadPoolExecutor(2) as threads:
        # Each opens the file itself, as processes do.
        first = threads.submit(kept, tmp_path / "engines.json", "a", slowly)
        assert entered.wait(30)
        second = threads.submit(kept, tmp_path / "engines.json", "a", never)
        assert not Event().wait(0.1)
        assert not second.done()
        go.set()
        assert first.result(30) == second.result(30) == FAST


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"a": {"engine": "openvino", "precision": "fp1"}}'])
def test_a_damaged_file_is_written_anew(tmp_path: Path, text: str) -> None:
    file = tmp_path / "engines.json"
    file.write_text(text)
    assert kept(file, "a", lambda: FAST) == FAST
    assert kept(file, "a", never) == FAST


def test_the_file_does_not_grow_without_end(tmp_path: Path) -> None:
    file = tmp_path / "engines.json"
    for number in range(105):
        kept(file, str(number), lambda: FAST)
    assert kept(file, "104", never) == kept(file, "5", never) == FAST
    assert kept(file, "4", lambda: EXACT) == EXACT


def test_a_file_that_cannot_be_used_keeps_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for file in (tmp_path / "missing" / "engines.json", tmp_path / "link", tmp_path):
        assert kept(file, "a", lambda: FAST) == FAST
        assert kept(file, "a", lambda: EXACT) == EXACT
    assert "cannot be kept" in caplog.text
    assert os.listdir(tmp_path) == ["link"]


def test_a_failed_choice_keeps_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        kept(tmp_path / "engines.json", "a", lambda: EXACT if 1 / 0 else FAST)
    assert kept(tmp_path / "engines.json", "a", lambda: FAST) == FAST
