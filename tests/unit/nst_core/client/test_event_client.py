"""Event streams of the client against a real HTTP server with prepared answers."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from nst_core.client import ApiError, Client, UnreachableError
from nst_core.client.events import EventParser
from scheduler.local.servers import free_port
from tests.clients import Connect
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api, problem

PATH = "/v1/jobs/job_1/events"


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with canned_api() as server:
        yield server


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def client(api: CannedApi, connect: Connect, pauses: list[float]) -> Iterator[Client]:
    with connect(api.url, "nst_key", sleep=pauses.append) as client:
        yield client


def frames(*ids: int, last: bool = False) -> bytes:
    """Return a stream's bytes."""
    text = "retry: 3000\n\n: still here\n\n"
    for number in ids:
        type_ = "job.completed" if last and number == ids[-1] else "job.progress"
        data = json.dumps({"timestamp": "2026-11-22T12:00:00Z", "data": {"n": number}})
        text += f"id: {number}\nevent: {type_}\ndata: {data}\n\n"
    return text.encode()


def test_a_broken_stream_is_resumed_after_the_last_event(api: CannedApi, client: Client) -> None:
    through = Answer(status=204, body=b"")
    api.on("GET", PATH, Answer(body=frames(1, 2)), Answer(hang_up=True), Answer(body=frames(3, last=True)), through)
    found = list(client.events("job_1"))
    assert [(event.id, event.data) for event in found] == [(1, {"n": 1}), (2, {"n": 2}), (3, {"n": 3})]
    assert [request.headers["Last-Event-ID"] for request in api.requests] == ["0", "2", "2", "3"]


def test_an_incomplete_event_is_ignored(api: CannedApi, client: Client) -> None:
    cut = frames(1) + b"id: 2\nevent: job.progress\n"
    api.on("GET", PATH, Answer(body=cut), Answer(body=frames(2, last=True)), Answer(status=204, body=b""))
    assert [event.id for event in client.events("job_1")] == [1, 2]


def test_a_stream_that_keeps_breaking_is_given_up(api: CannedApi, client: Client) -> None:
    api.on("GET", PATH, Answer(body=frames()))
    with pytest.raises(UnreachableError):
        list(client.events("job_1"))
    assert len(api.requests) == 11


def test_a_restart_behind_a_proxy_is_waited_for(api: CannedApi, client: Client, pauses: list[float]) -> None:
    proxy = [Answer(status=status, body=b"<html>") for status in (502, 503, 504)]
    starting = replace(problem(503, "database_unavailable", "Not yet."), headers={"Retry-After": "9"})
    rest = Answer(body=frames(2, last=True)), Answer(status=204, body=b"")
    api.on("GET", PATH, Answer(body=frames(1)), *proxy, starting, *rest)
    assert [event.id for event in client.events("job_1")] == [1, 2]
    assert [request.headers["Last-Event-ID"] for request in api.requests] == ["0", *["1"] * 5, "2"]
    assert pauses[-1] == 9.0


def test_an_outage_that_lasts_is_raised_after_as_many_tries_as_other_calls_have(
    api: CannedApi, client: Client, pauses: list[float]
) -> None:
    api.on("GET", PATH, Answer(status=502, body=b"<html>"))
    with pytest.raises(ApiError) as caught:
        list(client.events("job_1"))
    assert (caught.value.status, len(api.requests)) == (502, 11)
    assert 25 < sum(pauses) < 35


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "ftp://somewhere"])
def test_where_nothing_listens_at_the_first_call_it_fails_at_once(
    connect: Connect, pauses: list[float], url: str
) -> None:
    with connect(url.format(port=free_port()), sleep=pauses.append) as client, pytest.raises(UnreachableError):
        list(client.events("job_1"))
    assert pauses == []


def test_a_refusal_is_raised_at_once(api: CannedApi, client: Client) -> None:
    api.on("GET", PATH, problem(429, "too_many_streams", "Too many."))
    with pytest.raises(ApiError) as caught:
        list(client.events("job_1"))
    assert caught.value.code == "too_many_streams"


@pytest.mark.parametrize(("id", "data"), [("1" * 5000, "{}"), ("1", "[" * 100_000), ("1", '{"n": ' + "1" * 5000 + "}")])
def test_an_event_that_cannot_be_read_is_an_error_not_a_crash(id: str, data: str) -> None:
    parser = EventParser()
    with pytest.raises(UnreachableError, match="does not understand"):
        list(map(parser.feed, [f"id: {id}", "event: job.progress", f"data: {data}", ""]))


def test_unknown_lines_and_events_without_data_are_ignored() -> None:
    lines = ["other: 1", "id", "data: x", "", "id: 5", "event: job.progress", "", "id:6", "event:a"]
    lines += ['data:{"timestamp":"2026-11-22T12:00:00Z",', 'data:"data":{}}', ""]
    parser = EventParser()
    events = [event for event in map(parser.feed, lines) if event is not None]
    assert [(event.id, event.type) for event in events] == [(6, "a")]
