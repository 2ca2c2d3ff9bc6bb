"""Checks run side by side; a fault of one does not stop the others."""

from collections.abc import Iterator
from threading import Event

from pydantic_settings import BaseSettings

from nst_core.extras import install_command
from scheduler.operations.findings import Check, Finding, Status, ok, problem, read, run_all


def test_a_check_that_hangs_is_named_and_the_others_go_on() -> None:
    release = Event()

    def hang() -> Iterator[Finding]:
        yield ok("first", "It is well.")
        release.wait(60)

    found = run_all(
        [
            Check(names=("first", "second", "third"), run=hang, limit_s=0.2),
            Check(names=("other",), run=lambda: iter([ok("other", "It is well.")])),
        ]
    )
    release.set()
    assert [(each.check, each.status, each.code) for each in found] == [
        ("first", Status.OK, None),
        ("second", Status.PROBLEM, "check_timed_out"),
        ("third", Status.SKIPPED, None),
        ("other", Status.OK, None),
    ]


def test_what_comes_after_a_problem_is_skipped() -> None:
    check = Check(names=("a", "b"), run=lambda: iter([problem("a", "gone", "It is gone.", "Fetch it.")]))
    assert [(each.check, each.status, each.found) for each in run_all([check])][1:] == [
        ("b", Status.SKIPPED, "It needs what is missing above.")
    ]


def test_a_check_that_fails_is_a_problem() -> None:
    def fail() -> Iterator[Finding]:
        raise KeyError("x")

    assert [(each.code, each.found) for each in run_all([Check(names=("a",), run=fail)])] == [
        ("check_failed", "The check itself failed: KeyError: 'x'")
    ]


def test_a_missing_package_and_wrong_settings_skip_a_check() -> None:
    class Settings(BaseSettings):
        nst_needed_by_this_test: int

    def load() -> Iterator[Finding]:
        raise ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn")

    def use() -> Iterator[Finding]:
        read(Settings)
        yield ok("b", "It is well.")

    found = run_all([Check(names=("a",), run=load), Check(names=("b",), run=use)])
    assert [each.status for each in found] == [Status.SKIPPED] * 2
    missing = f"The Python package torch is not installed here; {install_command('worker')} installs it."
    assert found[0].found == missing
    assert found[1].found.startswith("The settings that it needs are not valid (NST_")
