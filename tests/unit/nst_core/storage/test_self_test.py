"""The test of the process's own bucket, and how a worker uses it at its start."""

from collections.abc import Iterator

import pytest

from nst_core.errors import BlobAccessError, BlobError, BlobUnavailableError, StorageClockError
from nst_core.storage.self_test import StorageTest, check_disk
from tests.playing_s3 import Call, PlayingServer, playing
from worker.app import storage_fault


@pytest.fixture
def server() -> Iterator[PlayingServer]:
    with playing() as server:
        yield server


def test_a_usable_bucket_is_left_unchanged(server: PlayingServer) -> None:
    StorageTest(server.store(), "worker-1")()
    assert [call.method for call in server.calls] == ["PUT", "GET", "DELETE"]
    [key] = {call.key for call in server.calls}
    assert key.startswith("health/worker-1-")
    assert server.objects == {}


def test_two_tests_of_one_process_do_not_disturb_each_other(server: PlayingServer) -> None:
    first, second = (StorageTest(server.store(), "worker-1") for _ in range(2))

    def between(call: Call) -> None:
        if call.method == "GET":
            server.quirks.refuse = lambda call: None
            second()

    server.quirks.refuse = between
    first()
    assert server.objects == {}


def test_a_worker_that_may_not_delete_leaves_one_object(server: PlayingServer) -> None:
    server.quirks.refuse = lambda call: (403, "AccessDenied") if call.method == "DELETE" else None
    test = StorageTest(server.store(), "worker-1")
    for _ in range(3):
        test()
    assert len(server.objects) == 1


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_bucket_that_refuses_is_reported(server: PlayingServer, method: str) -> None:
    server.quirks.refuse = lambda call: (403, "AccessDenied") if call.method == method else None
    with pytest.raises(BlobAccessError):
        StorageTest(server.store(), "worker-1")()


def test_a_worker_without_permission_to_delete_objects_can_work(server: PlayingServer) -> None:
    server.quirks.refuse = lambda call: (403, "AccessDenied") if call.method == "DELETE" else None
    assert storage_fault(StorageTest(server.store(), "worker-1")) is None


def test_a_worker_waits_only_while_the_storage_does_not_answer() -> None:
    waits, answers = list[float](), [BlobUnavailableError("No.")] * 5

    def test() -> None:
        if answers:
            raise answers.pop()

    assert storage_fault(test, sleep=waits.append) is None
    assert waits == [1.0, 2.0, 4.0, 8.0, 10.0]


def test_a_worker_does_not_wait_for_other_credentials() -> None:
    fault: BlobError = StorageClockError("The clock is wrong.")

    def test() -> None:
        raise fault

    assert storage_fault(test, sleep=lambda seconds: pytest.fail("it waits")) is fault


def test_a_writable_disk_passes() -> None:
    check_disk()
