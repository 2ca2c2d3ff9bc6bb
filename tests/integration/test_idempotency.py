"""Requests sent twice have one effect, whichever process dies in between."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from scheduler.access.idempotency import Claim, Idempotency
from scheduler.domain.errors import ConflictError, InFlightError, JobExistsError, KeyReusedError, RequestInvalidError
from scheduler.store import jobs as job_rows
from scheduler.store.jobs import NewJob
from tests.integration.conftest import TENANT, Rig


class KilledError(BaseException):
    """The process dies here, and nothing after it runs."""


def once(rig: Rig, make: object, **changes: str) -> tuple[str, bool]:
    helper = Idempotency(rig.database, clock=rig.clock)
    values = {"key": "k", "operation": "job", "fingerprint": "f"} | changes
    return helper.once(TENANT, make=make, **values)  # type: ignore[arg-type]


def maker(rig: Rig, name: str) -> object:
    """Return a function that adds a job."""

    def make(claim: Claim) -> str:
        spec = rig.service._resolver.resolve(TENANT, name, rig.request(1))
        with rig.database.write() as connection:
            job_rows.insert_job(
                connection,
                NewJob(id=name, tenant=TENANT, spec=spec, fingerprint="f"),
                now=rig.clock(),
            )
            claim.complete(connection, name)
        return name

    return make


def leave_claim(rig: Rig) -> Claim:
    """Claim the key like a process that dies before it makes anything."""
    claim = Claim(tenant=TENANT, key="k", claim="dead")
    helper = Idempotency(rig.database, clock=rig.clock)
    assert helper._claim(claim, "k", operation="job", fingerprint="f") is None
    return claim


def test_completed_request_is_replayed_while_its_key_is_kept(rig: Rig) -> None:
    assert once(rig, maker(rig, "job_1")) == ("job_1", True)
    rig.clock.advance(3600)
    assert once(rig, maker(rig, "job_2")) == ("job_1", False)
    assert len(rig.service.jobs(TENANT, limit=9, after_id=None)) == 1


@pytest.mark.parametrize("changes", [{"operation": "run"}, {"fingerprint": "g"}])
def test_key_is_refused_for_another_operation_or_payload(rig: Rig, changes: dict[str, str]) -> None:
    once(rig, maker(rig, "job_1"))
    with pytest.raises(KeyReusedError):
        once(rig, maker(rig, "job_2"), **changes)


def test_failed_request_frees_its_key(rig: Rig) -> None:
    def fail(claim: Claim) -> str:
        raise ConflictError("No.")

    with pytest.raises(ConflictError):
        once(rig, fail)
    assert once(rig, maker(rig, "job_1"), fingerprint="another") == ("job_1", True)


def test_running_request_holds_its_key_for_a_minute_and_is_then_taken_over(rig: Rig) -> None:
    dead = leave_claim(rig)
    rig.clock.advance(59)
    with pytest.raises(InFlightError):
        once(rig, maker(rig, "job_1"))
    rig.clock.advance(1)
    assert once(rig, maker(rig, "job_1")) == ("job_1", True)
    # The first process was slow, not dead. Its work is rolled back with its claim.
    with pytest.raises(InFlightError):
        maker(rig, "job_2")(dead)  # type: ignore[operator]
    assert [job.id for job in rig.service.jobs(TENANT, limit=9, after_id=None)] == ["job_1"]


def test_request_whose_process_died_after_the_commit_is_replayed(rig: Rig) -> None:
    helper = Idempotency(rig.database, clock=rig.clock)

    def die(claim: Claim) -> str:
        maker(rig, "job_1")(claim)  # type: ignore[operator]
        raise KilledError

    with pytest.raises(KilledError):
        helper.once(TENANT, "k", operation="job", fingerprint="f", make=die)
    assert once(rig, maker(rig, "job_2")) == ("job_1", False)


def test_job_and_run_cannot_share_a_key(rig: Rig) -> None:
    rig.service.submit(TENANT, rig.request(1), idempotency_key="k")
    assert once(rig, maker(rig, "job_x"), key="other") == ("job_x", True)
    with pytest.raises(KeyReusedError):
        once(rig, maker(rig, "job_y"), operation="run")


def test_job_with_an_id_of_the_client_is_made_once(rig: Rig) -> None:
    first, new = rig.service.put(TENANT, "spring-2026", rig.request(2))
    again, new_again = rig.service.put(TENANT, "spring-2026", rig.request(2))
    assert (first.id, new, new_again) == (again.id, True, False)
    with pytest.raises(JobExistsError):
        rig.service.put(TENANT, "spring-2026", rig.request(3))
    assert rig.service.job(TENANT, "spring-2026").id == first.id
    theirs, new = rig.service.put(rig.add_tenant("other"), "spring-2026", rig.request(3))
    assert new
    assert theirs.id != first.id


def test_job_can_still_be_replayed_after_its_deadline(rig: Rig) -> None:
    request = rig.request(1, deadline=rig.clock() + 5)
    first, _ = rig.service.put(TENANT, "mine", request)
    rig.clock.advance(10)
    assert rig.service.put(TENANT, "mine", request)[0].id == first.id


def test_concurrent_puts_with_one_id_make_one_job(rig: Rig) -> None:
    request = rig.request(3)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: rig.service.put(TENANT, "mine", request), range(16)))
    assert len({job.id for job, _ in results}) == 1
    assert sum(new for _, new in results) == 1


@pytest.mark.parametrize("client_id", ["job_1", "", "x" * 65, "a b", "ä", "..", "."])
def test_invalid_ids_are_refused(rig: Rig, client_id: str) -> None:
    with pytest.raises(RequestInvalidError):
        rig.service.put(TENANT, client_id, rig.request(1))
