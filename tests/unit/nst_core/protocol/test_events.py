"""Tests of nst_core.protocol.events."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_core.errors import ProtocolError
from nst_core.protocol.codec import adapter_of
from nst_core.protocol.events import (
    ChunkFinished,
    ChunkProgress,
    ChunkStarted,
    Event,
    ItemOutcome,
    ItemProgress,
    SegmentFailure,
    SegmentFinished,
    SegmentProgress,
    SegmentStarted,
    TrainProgress,
    dump_event,
    load_event,
)
from nst_core.protocol.segments import StoredFile

OUTCOMES = (
    ItemOutcome(index=0, ms=120, sha256="0" * 64, bytes=1000, width=30, height=20, engine="eager", precision="fp32"),
    ItemOutcome(index=1, ms=3, error_code="image_undecodable", error_message="The image is empty.", retryable=False),
)
PROGRESS = (ItemProgress(index=4, iteration=25, iterations=500, losses={"content": 12.5, "style": 3e-9}, preview=True),)
CHUNK_EVENTS: list[Event] = [
    ChunkStarted(chunk_id=7, attempt=2, worker="w@host"),
    ChunkProgress(chunk_id=7, attempt=2),
    ChunkProgress(chunk_id=7, attempt=2, outcomes=OUTCOMES[:1]),
    ChunkProgress(chunk_id=7, attempt=2, progress=PROGRESS),
    ChunkFinished(chunk_id=7, attempt=2, outcomes=OUTCOMES),
    ChunkFinished(chunk_id=7, attempt=2, outcomes=(), progress=PROGRESS),
]
EVENTS: list[Event] = [
    *CHUNK_EVENTS,
    SegmentStarted(run_id="run_1", attempt=1, worker="w@host"),
    SegmentProgress(run_id="run_1", attempt=1, progress=TrainProgress(step=5, losses={"style": 0.5}, steps_per_s=2.0)),
    SegmentFinished(
        run_id="run_1",
        attempt=1,
        worker="w@host",
        step=9,
        seconds=1.5,
        checkpoint=StoredFile(uri="s3://nst/c", sha256="0" * 64),
        failure=SegmentFailure(code="engine_failed", message="No.", retryable=True),
    ),
]
texts = st.text(max_size=20)
counts = st.integers(0, 2**40)


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_survives_json(event: Event) -> None:
    assert load_event(dump_event(event)) == event


@settings(deadline=None)
@given(st.builds(ItemOutcome, index=counts, ms=counts, error_code=st.none() | texts, error_message=st.none() | texts))
def test_any_outcome_survives_json(outcome: ItemOutcome) -> None:
    event = ChunkFinished(chunk_id=1, attempt=1, outcomes=(outcome,))
    assert load_event(dump_event(event)) == event


@pytest.mark.parametrize("event", EVENTS)
def test_fields_of_a_newer_version_are_ignored(event: Event) -> None:
    values = json.loads(dump_event(event)) | {"colour": "blue"}
    progress = values.get("progress") or ()
    for part in (*values.get("outcomes", ()), *([progress] if isinstance(progress, dict) else progress)):
        part["mood"] = [1, 2]
    assert load_event(json.dumps(values).encode()) == event


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"type": null}',
        b'{"type": "chunk_lost", "chunk_id": 1, "attempt": 1}',
        b'{"type": ["chunk_started"]}',
        b'{"type": "chunk_started", "chunk_id": 1, "attempt": 1}',
        b'{"type": "chunk_started", "chunk_id": 1, "attempt": "one", "worker": "w"}',
        b'{"type": "chunk_finished", "chunk_id": 1, "attempt": 1, "outcomes": [{"ms": 1}]}',
    ],
)
def test_other_data_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        load_event(data)


@given(st.binary(max_size=60))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        load_event(data)


def test_events_of_a_version_without_progress_have_no_progress() -> None:
    for event in CHUNK_EVENTS[1:]:
        assert isinstance(event, ChunkProgress | ChunkFinished)
        values = json.loads(dump_event(event))
        del values["progress"]
        assert load_event(json.dumps(values).encode()) == replace(event, progress=())


def test_outcomes_of_a_version_without_engines_have_none() -> None:
    event = ChunkFinished(chunk_id=7, attempt=2, outcomes=OUTCOMES)
    values = json.loads(dump_event(event))
    for outcome in values["outcomes"]:
        del outcome["engine"], outcome["precision"]
    expected = tuple(replace(outcome, engine=None, precision=None) for outcome in OUTCOMES)
    assert load_event(json.dumps(values).encode()) == replace(event, outcomes=expected)


def test_an_outcome_succeeds_if_it_has_no_error() -> None:
    assert [outcome.succeeded for outcome in OUTCOMES] == [True, False]


def test_the_adapter_of_an_event_is_built_once() -> None:
    assert adapter_of(ChunkProgress) is adapter_of(ChunkProgress)
