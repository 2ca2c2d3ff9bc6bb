"""Tests of worker.runtime.signs."""

from contextvars import copy_context

from worker.runtime.signs import give_sign, signs


def test_a_sign_goes_to_the_work_that_waits() -> None:
    seen: list[str] = []
    give_sign()
    with signs(lambda: seen.append("outer")):
        with signs(lambda: seen.append("inner")):
            give_sign()
        give_sign()
        copy_context().run(give_sign)
    give_sign()
    assert seen == ["inner", "outer", "outer"]
