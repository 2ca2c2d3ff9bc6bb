"""The heartbeat: a file that is touched while a process makes progress, and how probes read it."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nst_core.system.heartbeat import READY, STARTING, Heartbeat, Stillness, main, state_of, touched_at


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Rig:
    """A heartbeat that watches one counter."""

    path: Path
    clock: Clock = field(default_factory=Clock)
    count: int = 0
    alarms: int = 0

    def __post_init__(self) -> None:
        self.heartbeat = Heartbeat(self.path, clock=self.clock, on_still=self.alarm)
        self.heartbeat.watch("the loop", lambda: self.count, limit_s=10.0)

    def alarm(self) -> None:
        self.alarms += 1

    def beats(self) -> bool:
        """Return whether the file is touched a second later."""
        self.clock.now += 1
        self.path.unlink(missing_ok=True)
        self.heartbeat._written = None
        self.heartbeat.beat()
        return self.path.exists()


def test_it_beats_while_the_watched_counter_moves(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "beat")
    for _ in range(30):
        rig.count += 1
        assert rig.beats()
    assert rig.alarms == 0


def test_it_stops_when_a_counter_stands_still_and_continues_when_it_moves_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "beat")
    assert [rig.beats() for _ in range(14)] == [True] * 11 + [False] * 3
    assert rig.alarms == 1, "the stacks are logged once"
    rig.count += 1
    assert rig.beats()


def test_one_of_several_that_stands_still_is_enough(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "beat")
    rig.heartbeat.watch("the other", lambda: 0, limit_s=5.0)
    beats = []
    for _ in range(8):
        rig.count += 1
        beats.append(rig.beats())
    assert beats == [True] * 6 + [False] * 2


def test_time_while_the_machine_is_suspended_does_not_count(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "beat")
    assert rig.beats()
    rig.clock.now += 3600
    assert rig.beats()
    assert rig.alarms == 0


def test_stillness_is_measured_with_the_clock_of_the_observer() -> None:
    clock = Clock()
    stillness = Stillness(clock=clock, max_step_s=2.0)
    assert stillness.see("a") == 0
    clock.now += 1.5
    assert stillness.see("a") == 1.5
    clock.now += 1000
    assert stillness.see("a") == 3.5
    clock.now -= 500
    assert stillness.see("a") == 3.5
    assert stillness.see("b") == 0


def test_the_file_says_whether_the_process_is_ready_and_is_touched_repeatedly(tmp_path: Path) -> None:
    path = tmp_path / "beat"
    heartbeat = Heartbeat(path)
    heartbeat.beat()
    assert state_of(path) == STARTING
    os.utime(path, (1, 1))
    heartbeat.beat()
    assert (touched_at(path) or 0) > 1e18
    heartbeat.ready()
    assert state_of(path) == READY
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_does_nothing_without_a_file_and_logs_an_unwritable_file_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Heartbeat(None).beat()
    heartbeat = Heartbeat(tmp_path / "none" / "beat")
    heartbeat.beat()
    heartbeat.beat()
    assert [record.getMessage() for record in caplog.records] == [
        f"NST_HEARTBEAT_FILE, {tmp_path}/none/beat, cannot be written: No such file or directory"
    ]
    (tmp_path / "none").mkdir()
    heartbeat.beat()
    assert state_of(tmp_path / "none" / "beat") == STARTING


def test_the_container_probe_detects_a_process_that_hangs(tmp_path: Path) -> None:
    path = tmp_path / "beat"
    assert main(["--file", str(path)]) == 1, "no file yet"
    heartbeat = Heartbeat(path)
    heartbeat.beat()
    assert main(["--file", str(path)]) == 0
    assert main(["--file", str(path), "--ready"]) == 1
    heartbeat.ready()
    assert main(["--file", str(path), "--ready"]) == 0
    os.utime(path, (time.time() - 61, time.time() - 61))
    assert main(["--file", str(path)]) == 1
    assert main(["--file", str(path), "--max-age", "90"]) == 0
    env = {**os.environ, "NST_HEARTBEAT_FILE": str(path)}
    assert subprocess.run([sys.executable, "-m", "nst_core.system.heartbeat"], env=env, check=False).returncode == 1


def test_the_probe_wants_a_file_and_an_empty_name_is_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NST_HEARTBEAT_FILE", "")
    with pytest.raises(SystemExit):
        main([])
    assert "set NST_HEARTBEAT_FILE, or give --file" in capsys.readouterr().err
