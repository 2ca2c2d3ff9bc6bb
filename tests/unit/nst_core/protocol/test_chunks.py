"""Messages between scheduler and workers."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nst_core.errors import ProtocolError
from nst_core.protocol.chunks import (
    ChunkFinished,
    ChunkItem,
    ChunkMessage,
    ChunkProgress,
    ChunkStarted,
    Event,
    ItemOutcome,
    ItemProgress,
    ItemStatus,
    Method,
    OptimizeChunk,
    StyleRef,
    StylizeChunk,
    StylizeOptions,
    dump_chunk,
    dump_event,
    load_chunk,
    load_event,
)

CHUNK = StylizeChunk(
    job_id="j1",
    chunk_id=7,
    attempt=2,
    style=StyleRef(name="great-wave", version="ab" * 32),
    weights="s3://nst/styles/ab.safetensors",
    options=StylizeOptions(strength=0.5, preserve_color=True, max_px=800, quality=80),
    items=(ChunkItem(index=0, input="s3://in/é a.jpg", output="s3://out/0.png"),),
)
OPTIMIZE = OptimizeChunk(
    job_id="j2",
    chunk_id=8,
    attempt=1,
    painting="s3://in/painting.png",
    config={"iterations": 3, "style_layers": ["relu1_1"], "weights": {"a": 0.5}},
    scratch="s3://nst/tenants/t/scratch/j2/",
    preview_every=5,
    quality=80,
    items=(ChunkItem(index=4, input="s3://in/a.jpg", output="s3://out/4.png"),),
)
OUTCOMES = (
    ItemOutcome(index=0, ms=120, sha256="0" * 64, bytes=1000, width=30, height=20),
    ItemOutcome(index=1, ms=3, error_code="image_undecodable", error_message="The image is empty.", retryable=False),
)
PROGRESS = (ItemProgress(index=4, iteration=25, iterations=500, losses={"content": 12.5, "style": 3e-9}, preview=True),)
EVENTS: list[Event] = [
    ChunkStarted(chunk_id=7, attempt=2, worker="w@host"),
    ChunkProgress(chunk_id=7, attempt=2),
    ChunkProgress(chunk_id=7, attempt=2, outcomes=OUTCOMES[:1]),
    ChunkProgress(chunk_id=7, attempt=2, progress=PROGRESS),
    ChunkFinished(chunk_id=7, attempt=2, outcomes=OUTCOMES),
    ChunkFinished(chunk_id=7, attempt=2, outcomes=(), progress=PROGRESS),
]
texts = st.text(max_size=20)
counts = st.integers(0, 2**40)


@pytest.mark.parametrize("chunk", [CHUNK, OPTIMIZE])
def test_a_chunk_survives_json(chunk: ChunkMessage) -> None:
    assert load_chunk(type(chunk), json.loads(json.dumps(dump_chunk(chunk)))) == chunk


@settings(deadline=None)
@given(
    st.builds(
        StylizeChunk,
        job_id=texts,
        chunk_id=counts,
        attempt=counts,
        style=st.builds(StyleRef, name=texts, version=texts),
        weights=texts,
        options=st.builds(
            StylizeOptions,
            strength=st.floats(0, 1),
            preserve_color=st.booleans(),
            max_px=st.none() | counts,
            quality=st.integers(1, 100),
        ),
        items=st.lists(st.builds(ChunkItem, index=counts, input=texts, output=texts), max_size=3).map(tuple),
    )
)
def test_any_chunk_survives_json(chunk: StylizeChunk) -> None:
    assert load_chunk(StylizeChunk, json.loads(json.dumps(dump_chunk(chunk)))) == chunk


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
    for part in (*values.get("outcomes", ()), *values.get("progress", ())):
        part["mood"] = [1, 2]
    assert load_event(json.dumps(values).encode()) == event
    chunk = dump_chunk(CHUNK) | {"priority": 3}
    chunk["options"]["dither"] = True
    assert load_chunk(StylizeChunk, chunk) == CHUNK


def test_options_that_an_older_version_does_not_send_have_their_defaults() -> None:
    assert load_chunk(StylizeChunk, dump_chunk(CHUNK) | {"options": {}}).options == StylizeOptions()


#: Fields that an older version does not send.
OPTIONAL = {"alone", "preview_every", "quality"}


@pytest.mark.parametrize(
    ("chunk", "field"),
    [(chunk, field) for chunk in (CHUNK, OPTIMIZE) for field in sorted(asdict(chunk).keys() - OPTIONAL)],
)
def test_a_chunk_that_lacks_a_field_is_refused_by_name(chunk: ChunkMessage, field: str) -> None:
    values = dump_chunk(chunk)
    del values[field]
    with pytest.raises(ProtocolError, match=f"wrong at {field}"):
        load_chunk(type(chunk), values)


@pytest.mark.parametrize(
    ("field", "value"),
    [("chunk_id", "x"), ("attempt", None), ("items", 3), ("items", [{"index": 0}]), ("style", "wave"), ("options", 1)],
)
def test_a_chunk_with_a_wrong_field_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ProtocolError, match=f"StylizeChunk message is wrong at {field}"):
        load_chunk(StylizeChunk, dump_chunk(CHUNK) | {field: value})


@pytest.mark.parametrize("values", [None, 1, "x", [], b"", b"{"])
def test_what_is_no_chunk_is_refused(values: Any) -> None:
    with pytest.raises(ProtocolError):
        load_chunk(StylizeChunk, values)


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
def test_what_is_no_event_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        load_event(data)


@given(st.binary(max_size=60))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        load_event(data)


def test_events_of_a_version_without_progress_have_none() -> None:
    for event in EVENTS[1:]:
        assert isinstance(event, ChunkProgress | ChunkFinished)
        values = json.loads(dump_event(event))
        del values["progress"]
        assert load_event(json.dumps(values).encode()) == replace(event, progress=())


def test_each_method_has_a_task_and_a_queue_of_its_own() -> None:
    assert len({method.task for method in Method}) == len({method.queue for method in Method}) == len(Method)
    assert (CHUNK.method, OPTIMIZE.method) == (Method.FEEDFORWARD, Method.OPTIMIZE)


def test_an_outcome_succeeds_where_it_has_no_error() -> None:
    assert [outcome.succeeded for outcome in OUTCOMES] == [True, False]


def test_only_ends_are_terminal() -> None:
    assert {status.value for status in ItemStatus if status.is_terminal} == {"succeeded", "failed", "cancelled"}
