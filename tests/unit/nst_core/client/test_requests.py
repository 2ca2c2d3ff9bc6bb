"""Both clients against a real HTTP server with prepared answers."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nst_core.client import ApiError, Client, UnreachableError
from nst_core.client.resources.items import ItemStatus, Progress
from nst_core.client.resources.jobs import Job, JobInput, JobRequest, JobStatus, Priority, ResolvedOutput
from nst_core.client.resources.methods import Optimize
from nst_core.errors import ConfigError, NstError
from scheduler.local.servers import free_port
from tests.clients import Connect
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api, item_json, job_json, problem

REQUEST = JobRequest(input=JobInput(prefix="s3://nst/in/"), styles=("great_wave",))
BUSY = Answer(status=503)


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


def test_a_job_is_read_with_enums_and_counts(api: CannedApi, client: Client) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("running", total=4, succeeded=1)))
    job = client.job("job_1")
    assert job.status is JobStatus.RUNNING
    assert (job.counts.total, job.counts.succeeded, job.counts.pending) == (4, 1, 3)
    assert job.output == ResolvedOutput(prefix="s3://nst/out/")
    assert job.styles[0].name == "great_wave"


def test_fields_of_a_newer_api_are_ignored(api: CannedApi, client: Client) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json(urgency=7)))
    assert client.job("job_1").id == "job_1"


def test_the_key_is_sent_as_a_bearer_token(api: CannedApi, client: Client) -> None:
    api.on(
        "GET",
        "/v1/styles?limit=200",
        Answer(body={"data": [{"name": "udnie", "version": "1" * 64, "card": {"year": 1913}}]}),
    )
    assert client.styles()[0].card == {"year": 1913}
    assert api.requests[0].headers["Authorization"] == "Bearer nst_key"


def test_temporary_faults_are_retried_with_growing_pauses(api: CannedApi, client: Client, pauses: list[float]) -> None:
    hang_up = Answer(hang_up=True)
    api.on("GET", "/v1/jobs/job_1", BUSY, hang_up, Answer(status=502), Answer(body=job_json()))
    assert client.job("job_1").id == "job_1"
    assert pauses == [0.25, 0.5, 1.0]


def test_uploads_are_retried(api: CannedApi, client: Client) -> None:
    path = "/v1/uploads/upl_1/a%20folder/p%C3%A4r%23.jpg"
    api.on("PUT", path, BUSY, Answer(status=201, body={"uri": "s3://nst/x.jpg"}))
    assert client.upload("upl_1", "a folder/pär#.jpg", b"photo") == "s3://nst/x.jpg"
    assert [request.body for request in api.requests] == [b"photo", b"photo"]


def test_file_uploads_are_repeated_from_the_start_of_the_file(api: CannedApi, client: Client, tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000  # more than one piece
    (tmp_path / "photo.jpg").write_bytes(data)
    path = "/v1/uploads/upl_1/photo.jpg"
    api.on("PUT", path, BUSY, Answer(status=201, body={"uri": "s3://nst/photo.jpg"}))
    assert client.upload("upl_1", "photo.jpg", tmp_path / "photo.jpg") == "s3://nst/photo.jpg"
    assert [request.body for request in api.requests] == [data, data]
    assert api.requests[0].headers["Authorization"] == "Bearer nst_key"
    with pytest.raises(FileNotFoundError):
        client.upload("upl_1", "photo.jpg", tmp_path / "none.jpg")


class _Changing(type(Path())):  # type: ignore[misc]  # the class of paths depends on the system
    """A file that gets other content after its size was asked for, and before it is read."""

    content = b""

    def open(self, *args: Any, **options: Any) -> Any:
        Path(self).write_bytes(self.content)
        return super().open(*args, **options)


@pytest.mark.parametrize("size_bytes", [0, 3, 3_000_000])
def test_a_file_that_changes_its_size_while_it_is_sent_is_an_error_of_the_file(
    api: CannedApi, client: Client, tmp_path: Path, size_bytes: int
) -> None:
    path = _Changing(tmp_path / "photo.jpg")
    path.write_bytes(b"photo")
    path.content = bytes(size_bytes)
    with pytest.raises(OSError, match="changed while it was sent") as caught:
        client.upload("upl_1", "photo.jpg", path)
    assert caught.value.filename == str(path)
    assert api.requests == []


def test_an_answer_that_is_compressed_wrongly_is_no_answer(
    api: CannedApi, client: Client, pauses: list[float], tmp_path: Path
) -> None:
    broken = Answer(body=b"no gzip", headers={"Content-Encoding": "gzip"})
    api.on("GET", "/v1/jobs/job_1", broken, Answer(body=job_json()))
    assert client.job("job_1").id == "job_1"
    api.on("GET", "/v1/jobs/job_1/results.zip", broken)
    with pytest.raises(UnreachableError, match="does not respond"):
        client.zip("job_1", tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_repeated_submit_carries_the_same_idempotency_key(api: CannedApi, client: Client) -> None:
    api.on("POST", "/v1/jobs", BUSY, Answer(status=202, body=job_json("queued")))
    client.submit(REQUEST)
    client.submit(REQUEST)
    keys = [request.headers["Idempotency-Key"] for request in api.requests]
    assert keys[0] == keys[1] != keys[2]


def test_a_submit_names_exactly_one_input(api: CannedApi, client: Client) -> None:
    api.on("POST", "/v1/jobs", Answer(status=202, body=job_json("queued")))
    client.submit(REQUEST)
    body = json.loads(api.requests[0].body)
    assert body["input"] == {"prefix": "s3://nst/in/"}
    assert body["styles"] == ["great_wave"]
    assert "output" not in body  # values that are not set are left to the API


def test_a_submit_of_optimisations_names_paintings_and_options(api: CannedApi, client: Client) -> None:
    api.on("POST", "/v1/jobs", Answer(status=202, body=job_json("queued", method="optimize")))
    optimize = Optimize(preset="risser2017", options={"seed": 4}, preview_every=0)
    paintings = ("s3://nst/p.jpg",)
    request = JobRequest(input=REQUEST.input, method="optimize", paintings=paintings, optimize=optimize)
    assert client.submit(request).method == "optimize"
    body = json.loads(api.requests[0].body)
    assert (body["method"], body["paintings"]) == ("optimize", ["s3://nst/p.jpg"])
    assert "styles" not in body
    assert body["optimize"] == {"preset": "risser2017", "options": {"seed": 4}, "preview_every": 0}


def test_a_submit_omits_fields_that_older_apis_do_not_know(api: CannedApi, client: Client) -> None:
    api.on("POST", "/v1/jobs", Answer(status=202, body=job_json("queued")))
    client.submit(REQUEST)
    body = json.loads(api.requests[0].body)
    assert set(body) == {"input", "styles"}


def test_fields_that_are_set_are_sent(api: CannedApi, client: Client) -> None:
    api.on("PUT", "/v1/jobs/spring", Answer(status=202, body=job_json("queued", client_id="spring")))
    changes = {"priority": Priority.HIGH, "expires_after_s": 60.0, "max_failures": 3, "max_attempts": 2}
    request = REQUEST.model_copy(update=changes)
    assert client.put("spring", request).client_id == "spring"
    body = json.loads(api.requests[0].body)
    assert (body["priority"], body["expires_after_s"], body["max_failures"], body["max_attempts"]) == ("high", 60, 3, 2)
    assert "deadline" not in body


def test_request_that_is_already_in_flight_is_waited_for(api: CannedApi, client: Client, pauses: list[float]) -> None:
    in_flight = problem(409, "idempotency_in_flight", "It is at work.")
    api.on("POST", "/v1/jobs", Answer(hang_up=True), in_flight, Answer(status=202, body=job_json("queued")))
    assert client.submit(REQUEST).id == "job_1"
    assert len({request.headers["Idempotency-Key"] for request in api.requests}) == 1
    assert pauses == [0.25, 0.5]


def test_other_conflicts_are_raised_at_once(api: CannedApi, client: Client, pauses: list[float]) -> None:
    api.on("POST", "/v1/jobs/job_1/retry", problem(409, "nothing_to_retry", "No."))
    with pytest.raises(ApiError) as caught:
        client.retry("job_1", codes=["worker_lost"], cancelled=True)
    assert (caught.value.code, pauses) == ("nothing_to_retry", [])
    assert json.loads(api.requests[0].body) == {"codes": ["worker_lost"], "cancelled": True}


def test_the_server_is_asked_to_wait(api: CannedApi, client: Client) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded")))
    client.job("job_1", wait_s=60)
    assert api.requests[0].headers["Prefer"] == "wait=60"


def test_jobs_can_be_filtered(api: CannedApi, client: Client) -> None:
    query = "limit=200&status=paused&method=optimize&created_after=2026-11-22T01%3A00%3A00%2B00%3A00"
    api.on("GET", f"/v1/jobs?{query}&metadata.album=a%26b", Answer(body={"data": [job_json()]}))
    after = datetime(2026, 11, 22, 1, tzinfo=UTC).astimezone(UTC)
    found = client.jobs(status=JobStatus.PAUSED, method="optimize", metadata={"album": "a&b"}, created_after=after)
    assert [job.id for job in found] == ["job_1"]


def test_a_dry_run_returns_counts_and_problems(api: CannedApi, client: Client) -> None:
    body = {
        "valid": False,
        "photos": 2,
        "items": 2,
        "failing": 2,
        "problems": [{"code": "x", "message": "m", "line": 3}],
    }
    api.on("POST", "/v1/jobs?validate=true", Answer(body=body))
    check = client.check(REQUEST)
    assert (check.valid, check.failing, check.problems[0].line) == (False, 2, 3)


def test_zip_in_several_parts_is_saved_as_several_files(
    api: CannedApi, client: Client, tmp_path: Path, pauses: list[float]
) -> None:
    more = Answer(body=b"one", headers={"Link": '</v1/jobs/job_1/results.zip?after_id=7>; rel="next"'})
    api.on("GET", "/v1/jobs/job_1/results.zip", BUSY, Answer(hang_up=True), more)
    api.on("GET", "/v1/jobs/job_1/results.zip?after_id=7", Answer(body=b"two"))
    files = client.zip("job_1", tmp_path / "out.zip")
    assert [(file.name, file.read_bytes()) for file in files] == [("out.zip", b"one"), ("out-2.zip", b"two")]
    assert pauses == [0.25, 0.5]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("place", ["pipe", "null"])
def test_a_zip_never_replaces_a_pipe_or_a_device(api: CannedApi, client: Client, tmp_path: Path, place: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    api.on("GET", "/v1/jobs/job_1/results.zip", Answer(body=b"one"))
    with pytest.raises(FileExistsError) as caught:
        client.zip("job_1", tmp_path / place)
    assert caught.value.filename == str(tmp_path / place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["null", "pipe"]
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "null").is_symlink()


def test_refused_zip_leaves_no_file(api: CannedApi, client: Client, tmp_path: Path) -> None:
    api.on("GET", "/v1/jobs/job_1/results.zip", problem(404, "not_found", "Not yet."))
    with pytest.raises(ApiError, match="Not yet"):
        client.zip("job_1", tmp_path / "out.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_permanent_fault_raises_the_error_of_the_answer(api: CannedApi, client: Client, pauses: list[float]) -> None:
    api.on("GET", "/v1/jobs/job_1", BUSY)
    with pytest.raises(ApiError) as caught:
        client.job("job_1")
    assert caught.value.status == 503
    assert caught.value.code == "http_503"
    assert pauses == [0.25, 0.5, 1.0, 2.0, *[4.0] * 6]


def test_a_refusal_has_the_code_and_the_detail_of_the_problem(
    api: CannedApi, client: Client, pauses: list[float]
) -> None:
    places = [{"pointer": "/styles/0", "detail": "Unknown."}]
    api.on("POST", "/v1/jobs", problem(422, "request_invalid", "The request is wrong.", errors=places))
    with pytest.raises(ApiError) as caught:
        client.submit(REQUEST)
    error = caught.value
    assert isinstance(error, NstError)
    assert (error.status, error.code) == (422, "request_invalid")
    assert error.message == "The request is wrong. (/styles/0: Unknown.)"
    assert pauses == []


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"code": ' + b"1" * 5000 + b"}", b'"text"', b"\xff"])
def test_a_refusal_that_cannot_be_read_has_its_status(api: CannedApi, client: Client, body: bytes) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(status=404, body=body))
    with pytest.raises(ApiError) as caught:
        client.job("job_1")
    assert (caught.value.status, caught.value.code) == (404, "http_404")


@pytest.mark.parametrize("changes", [{"metadata": {"note": "\ud800"}}, {"expires_after_s": float("inf")}])
def test_a_request_that_json_cannot_carry_is_refused(api: CannedApi, client: Client, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="cannot be sent"):
        client.submit(REQUEST.model_copy(update=changes))


def test_a_server_that_does_not_exist_is_reported_at_once(connect: Connect, pauses: list[float]) -> None:
    with connect(f"http://127.0.0.1:{free_port()}", sleep=pauses.append) as client, pytest.raises(UnreachableError):
        client.styles()
    assert pauses == []


def test_an_api_that_dies_during_the_first_call_is_waited_for(connect: Connect, pauses: list[float]) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def die() -> None:
        connection, _ = listener.accept()
        listener.close()
        connection.recv(1000)
        connection.close()

    server = threading.Thread(target=die)
    server.start()
    with (
        connect(f"http://127.0.0.1:{port}", retries=3, sleep=pauses.append) as client,
        pytest.raises(UnreachableError),
    ):
        client.job("job_1")
    server.join()
    assert len(pauses) == 3, "it was tried again where nobody listened any more"


def test_a_key_is_sent_without_line_break_and_a_malformed_one_is_not_shown(
    api: CannedApi, connect: Connect, pauses: list[float]
) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json()))
    with connect(api.url, "nst_key\n", sleep=pauses.append) as client:
        client.job("job_1")
    assert api.requests[0].headers["Authorization"] == "Bearer nst_key"
    for key in ("nst_se\ncret", "nst_sécret"):
        with pytest.raises(UnreachableError) as caught:
            connect(api.url, key, sleep=pauses.append)
        assert "cret" not in caught.value.message
    assert (len(api.requests), pauses) == (1, [])


@pytest.mark.parametrize("key", ["", "a\nb", "ä", "x" * 256])
def test_an_invalid_idempotency_key_is_not_sent(api: CannedApi, client: Client, key: str) -> None:
    with pytest.raises(ConfigError, match="idempotency key"):
        client.submit(REQUEST, idempotency_key=key)
    assert api.requests == []


@pytest.mark.parametrize("id", ["", ".", ".."])
def test_an_invalid_id_is_not_sent(api: CannedApi, client: Client, id: str) -> None:
    with pytest.raises(ConfigError):
        client.job(id)
    assert api.requests == []


def test_a_quota_error_is_raised_at_once_and_a_rate_limit_is_waited_for(
    api: CannedApi, client: Client, pauses: list[float]
) -> None:
    again = {"Retry-After": "3"}
    quota = replace(problem(429, "quota_exceeded", "Too many."), headers=again)
    rate = replace(problem(429, "rate_limited", "Too often."), headers=again)
    api.on("GET", "/v1/jobs/job_1", quota, rate, Answer(body=job_json()))
    with pytest.raises(ApiError):
        client.job("job_1")
    assert pauses == []
    assert client.job("job_1").id == "job_1"
    assert pauses == [3.0]


@pytest.mark.parametrize("url", ["ftp://somewhere", "no address", "http://[", ""])
def test_an_invalid_address_is_unreachable(connect: Connect, url: str) -> None:
    with pytest.raises(UnreachableError):
        connect(url, retries=0).styles()


def test_an_answer_from_another_program_is_an_error_not_a_crash(api: CannedApi, client: Client) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body={"hello": "world"}))
    api.on("GET", "/v1/jobs/job_2", Answer(body=b"<html>"))
    for job_id in ("job_1", "job_2"):
        with pytest.raises(UnreachableError, match="version of nst does not understand the answer"):
            client.job(job_id)


def test_items_are_read_from_all_pages(api: CannedApi, client: Client) -> None:
    query = "/v1/jobs/job_1/items?limit=2&status=succeeded"
    api.on("GET", query, Answer(body={"data": [item_json(0), item_json(3)], "has_more": True, "last_id": 3}))
    api.on("GET", query + "&after_id=3", Answer(body={"data": [item_json(5)], "has_more": False, "last_id": 5}))
    items = client.items("job_1", status=ItemStatus.SUCCEEDED, page=2)
    assert [item.id for item in items] == [0, 3, 5]


def test_jobs_are_read_from_all_pages(api: CannedApi, client: Client) -> None:
    newer, older = job_json(id="job_2"), job_json(id="job_1")
    api.on("GET", "/v1/jobs?limit=1", Answer(body={"data": [newer], "has_more": True, "last_id": "job_2"}))
    api.on("GET", "/v1/jobs?limit=1&after_id=job_2", Answer(body={"data": [older], "last_id": "job_1"}))
    assert [job.id for job in client.jobs(page=1)] == ["job_2", "job_1"]


def test_wait_reports_only_changes_and_returns_the_finished_job(
    api: CannedApi, client: Client, pauses: list[float]
) -> None:
    running = Answer(body=job_json("running"))
    half = Answer(body=job_json("running", succeeded=2))
    done = Answer(body=job_json("succeeded", succeeded=4))
    api.on("GET", "/v1/jobs/job_1", running, running, half, half, done)
    seen: list[Job] = []
    assert client.wait("job_1", on_change=seen.append, poll_s=60).status is JobStatus.SUCCEEDED
    assert [job.counts.succeeded for job in seen] == [0, 2, 4]
    assert pauses == [60] * 4


def test_wait_can_report_every_poll(api: CannedApi, client: Client) -> None:
    running = Answer(body=job_json("running"))
    api.on("GET", "/v1/jobs/job_1", running, running, Answer(body=job_json("succeeded", succeeded=4)))
    seen: list[Job] = []
    client.wait("job_1", on_poll=seen.append)
    assert [job.status for job in seen] == ["running", "running", "succeeded"]


def test_progress_and_previews_of_optimisations_are_read(api: CannedApi, client: Client) -> None:
    progress = {"iteration": 7, "iterations": 9, "losses": {"style": 0.5}, "preview": True}
    api.on("GET", "/v1/jobs/job_1/items?limit=200", Answer(body={"data": [item_json(0, "running", progress=progress)]}))
    api.on("GET", "/v1/jobs/job_1/items/0/preview", Answer(body=b"jpeg"))
    [item] = client.items("job_1")
    assert item.progress == Progress(iteration=7, iterations=9, losses={"style": 0.5}, preview=True)
    assert client.preview("job_1", 0) == b"jpeg"


def test_wait_times_out(api: CannedApi, connect: Connect) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("running")))
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    with connect(api.url, sleep=sleep, clock=lambda: now) as client, pytest.raises(TimeoutError, match="still running"):
        client.wait("job_1", poll_s=1, timeout_s=3)


def test_outputs_and_reports_are_bytes(api: CannedApi, client: Client) -> None:
    api.on("GET", "/v1/jobs/job_1/items/3/output", Answer(body=b"picture"))
    api.on("GET", "/v1/jobs/job_1/results", Answer(body=b'{"id": 3}\n'))
    api.on("GET", "/v1/jobs/job_1/errors", Answer(body=b""))
    assert client.output("job_1", 3) == b"picture"
    assert client.results("job_1") == b'{"id": 3}\n'
    assert client.errors("job_1") == b""


def test_readiness_is_one_attempt_that_raises_nothing(api: CannedApi, client: Client, pauses: list[float]) -> None:
    api.on("GET", "/readyz", BUSY, Answer())
    assert [client.is_ready(), client.is_ready()] == [False, True]
    assert pauses == []
