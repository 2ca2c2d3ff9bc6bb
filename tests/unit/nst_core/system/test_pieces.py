"""Tests of nst_core.system.pieces."""

import threading

from nst_core.system.pieces import Runner, at_once


def test_work_that_nothing_else_waits_for_runs_on_the_callers_thread() -> None:
    runner: Runner = at_once
    assert runner(threading.current_thread) is threading.current_thread()
