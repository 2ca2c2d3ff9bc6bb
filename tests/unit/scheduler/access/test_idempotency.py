"""Tests of scheduler.access.idempotency."""

import pytest

from nst_core.client.resources.jobs import JobInput, JobRequest, Output
from scheduler.access.idempotency import KEPT_S, Claim, Idempotency, fingerprint
from scheduler.domain.errors import InFlightError, KeyReusedError
from scheduler.store.database import Database
from tests.unit.scheduler.kit import ManualClock


class Maker:
    """Makes things, each with an id of its own, in transactions that complete their claims."""

    def __init__(self, database: Database) -> None:
        self.made: list[str] = []
        self.error: Exception | None = None
        self._database = database

    def __call__(self, claim: Claim) -> str:
        if self.error is not None:
            raise self.error
        with self._database.write() as connection:
            self.made.append(f"job_{len(self.made)}")
            claim.complete(connection, self.made[-1])
        return self.made[-1]


@pytest.fixture
def maker(database: Database) -> Maker:
    return Maker(database)


@pytest.fixture
def idempotency(database: Database, clock: ManualClock) -> Idempotency:
    return Idempotency(database, clock=clock)


def once(
    idempotency: Idempotency, maker: Maker, key: str | None = "k", fingerprint: str = "f", operation: str = "job"
) -> tuple[str, bool]:
    return tuple(idempotency.once("t", key, operation=operation, fingerprint=fingerprint, make=maker))  # type: ignore[return-value]


def test_a_repeat_gets_the_first_thing(idempotency: Idempotency, maker: Maker) -> None:
    assert once(idempotency, maker) == ("job_0", True)
    assert once(idempotency, maker) == ("job_0", False)
    assert once(idempotency, maker, key="other") == ("job_1", True)


def test_without_a_key_each_request_makes_a_thing(idempotency: Idempotency, maker: Maker) -> None:
    assert [once(idempotency, maker, key=None) for _ in range(2)] == [("job_0", True), ("job_1", True)]


def test_a_key_belongs_to_one_request(idempotency: Idempotency, maker: Maker) -> None:
    once(idempotency, maker)
    with pytest.raises(KeyReusedError):
        once(idempotency, maker, fingerprint="g")
    with pytest.raises(KeyReusedError):
        once(idempotency, maker, operation="run")


def test_a_key_is_free_again_after_an_error(idempotency: Idempotency, maker: Maker) -> None:
    maker.error = ValueError("No.")
    with pytest.raises(ValueError, match=r"No\."):
        once(idempotency, maker)
    maker.error = None
    assert once(idempotency, maker) == ("job_0", True)


def test_a_request_at_work_keeps_its_key_until_its_claim_runs_out(
    idempotency: Idempotency, maker: Maker, clock: ManualClock
) -> None:
    def slow(claim: Claim) -> str:
        with pytest.raises(InFlightError):
            once(idempotency, maker)
        clock.advance(60)
        assert once(idempotency, maker) == ("job_0", True)
        return maker(claim)

    with pytest.raises(InFlightError):
        idempotency.once("t", "k", operation="job", fingerprint="f", make=slow)


def test_old_keys_are_forgotten(idempotency: Idempotency, maker: Maker, clock: ManualClock) -> None:
    once(idempotency, maker)
    clock.advance(KEPT_S - 1)
    assert not idempotency.prune()
    clock.advance(2)
    assert idempotency.prune()
    assert once(idempotency, maker) == ("job_1", True)


class LaterOutput(Output):
    """The output of a request in a later version of nst, with a field that today's version does not have."""

    dpi: int = 300


class LaterRequest(JobRequest):
    """A request in a later version of nst."""

    output: LaterOutput = LaterOutput()
    colours: int | None = None


def test_a_repeat_is_recognised_by_a_version_with_more_fields() -> None:
    photos = JobInput(prefix="s3://nst/in/")
    first = fingerprint(JobRequest(input=photos, output=Output(format="png")))
    assert fingerprint(LaterRequest(input=photos, output=LaterOutput(format="png"))) == first
    assert fingerprint(LaterRequest(input=photos, output=LaterOutput(format="png"), colours=8)) != first
    assert fingerprint(LaterRequest(input=photos, output=LaterOutput(format="png", dpi=72))) != first


def test_requests_that_differ_have_different_fingerprints() -> None:
    photos = JobInput(prefix="s3://nst/in/")
    plain = JobRequest(input=photos)
    others = (
        JobRequest(input=JobInput(prefix="s3://nst/out/")),
        JobRequest(input=photos, strength=0.5),
        JobRequest(input=photos, output=Output(quality=93)),
        JobRequest(input=photos, metadata={"album": "spring"}),
    )
    assert len({fingerprint(plain), *map(fingerprint, others), fingerprint(plain, "run_1")}) == 6
    assert fingerprint(plain) == fingerprint(JobRequest(input=photos, strength=1.0)), "a default that is given"
