"""Tests of worker.methods.stylize.place."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from nst_core.system.budget import Budget
from tests.unit.worker.kit import WAIT_S, wait_until
from worker.methods.stylize.place import Place, Traffic


def test_the_chunk_of_an_image_that_waits_is_idle_unless_another_image_gets_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("nst_core.system.budget._SIGN_S", 0.01)
    touched = list[str]()
    traffic, budget = Traffic(), Budget(1)
    older = Place(0, touch=lambda: touched.append("older"), traffic=traffic)
    newer = Place(1, touch=lambda: touched.append("newer"), traffic=traffic)
    budget.take(1)
    with ThreadPoolExecutor(1) as threads, older.share(budget) as share:
        waiting = threads.submit(share.take, 1)
        wait_until(lambda: bool(budget._turns))
        for number in range(1, 4):
            newer.touch()
            wait_until(lambda count=number: touched.count("older") == count)  # type: ignore[misc]
        assert touched == ["newer", "older"] * 3
        budget.give_back(1)
        assert waiting.result(WAIT_S)


def test_images_that_wait_are_no_progress_for_each_other() -> None:
    touched, traffic = list[int](), Traffic()
    looks = [traffic.follow(lambda number=number: touched.append(number)) for number in range(2)]  # type: ignore[misc]
    traffic.move()
    for look in looks * 3:
        look()
    assert touched == [0, 1]


def test_older_chunks_get_room_first() -> None:
    budget, traffic, served = Budget(1), Traffic(), list[int]()

    def take(place: Place) -> None:
        with place.share(budget) as share:
            share.take(1)
            served.append(place.order)

    budget.take(1)
    with ThreadPoolExecutor() as threads:
        for order in (3, 1, 2):
            threads.submit(take, Place(order, touch=lambda: None, traffic=traffic))
        wait_until(lambda: len(budget._turns) == 3)
        budget.give_back(1)
    assert served == [1, 2, 3]
