"""Dry runs of jobs over HTTP: what a submission would refuse, what is missing in the storage, and an estimate."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Semaphore
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient

from nst_core.client.resources.jobs import JobInput
from nst_core.errors import BlobUnavailableError
from nst_core.storage.blobs import BlobUri
from scheduler.api.routes.jobs import DRY_RUNS_OF_ONE
from scheduler.jobs import dry_run
from scheduler.jobs.planner import plan_items
from scheduler.store import rates as rate_rows
from tests.integration.conftest import FakeClock, Rig, client_of
from tests.integration.job_kit import body, region


def validate(client: TestClient, rig: Rig, **changes: object) -> dict[str, object]:
    answer = client.post("/v1/jobs", params={"validate": "true"}, json=body(rig) | changes)
    assert answer.status_code == 200, answer.text
    assert client.get("/v1/jobs").json()["data"] == []
    result: dict[str, object] = answer.json()
    return result


def test_it_counts_photos_below_a_prefix_and_estimates(client: TestClient, rig: Rig) -> None:
    for name in ("a.jpg", "sub/b.png", "notes.txt"):
        rig.blobs.put(BlobUri("nst", f"{rig.prefix}/in/{name}"), b"x")
    changes = {"input": {"prefix": f"s3://nst/{rig.prefix}/in/"}, "styles": ["wave", "udnie"]}
    assert validate(client, rig, **changes) == {
        "valid": True,
        "photos": 2,
        "items": 4,
        "failing": 0,
        "truncated": False,
        "objects_checked": 2,
        "problems": [],
        "estimated_s": None,
    }
    with rig.database.write() as connection:
        pace = rate_rows.Pace(method="feedforward", px_class=0, precision="auto", stroke="1")
        rate_rows.add_times(connection, pace, "wave" * 4, count=2, total_ms=3000, now=rig.clock())
    assert validate(client, rig, **changes)["estimated_s"] == 6.0


def test_it_lists_wrong_manifest_lines(client: TestClient, rig: Rig) -> None:
    photo = f"s3://nst/{rig.prefix}/a.jpg"
    rig.blobs.put(BlobUri.parse(photo), b"x")
    lines = [b"no json", *[json.dumps({"input": photo}).encode()] * 2]
    rig.blobs.put(BlobUri("nst", f"{rig.prefix}/m.jsonl"), b"\n".join(lines))
    manifest = {"manifest": f"s3://nst/{rig.prefix}/m.jsonl"}
    result = validate(client, rig, input=manifest, output={"name": "{stem}.{ext}"})
    assert (result["valid"], result["photos"], result["failing"]) == (True, 3, 2)
    problems = result["problems"]
    assert isinstance(problems, list)
    assert [(p["code"], p["line"], p["input"]) for p in problems] == [
        ("input_invalid", 1, None),
        ("output_name_taken", 3, photo),
    ]


def test_it_checks_as_much_as_its_time_allows(client: TestClient, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = [f"s3://nst/{rig.prefix}/{number}.jpg" for number in range(450)]
    lines = b"\n".join(json.dumps({"input": photo}).encode() for photo in photos)
    rig.blobs.put(BlobUri("nst", f"{rig.prefix}/m.jsonl"), lines)
    changes = {"input": {"manifest": f"s3://nst/{rig.prefix}/m.jsonl"}}
    assert validate(client, rig, **changes)["photos"] == 450

    steady = FakeClock(100.0)
    rig.service._checker._timer = steady

    def slow(*arguments: Any, **options: Any) -> Any:
        steady.advance(0.02 * len(arguments[1]))
        rig.clock.advance(-60.0)  # the time of day may be set back meanwhile
        return plan_items(*arguments, **options)

    monkeypatch.setattr(dry_run, "plan_items", slow)
    found = validate(client, rig, **changes)
    assert (found["photos"], found["truncated"], found["valid"]) == (400, True, True)


def test_it_finds_results_that_would_replace_photos_and_skips_earlier_results(client: TestClient, rig: Rig) -> None:
    place = f"s3://nst/{rig.prefix}/"
    for name in ("x.bmp", "x.jpg", "y.png", "y.jpg"):
        rig.blobs.put(BlobUri.parse(place + name), b"x")
    changes = {"output_name": "{stem}.{ext}", "output_format": "jpeg", "output_prefix": place}
    rig.submit(JobInput(uris=(place + "y.png",)), **changes)
    rig.plan()
    output = {name.removeprefix("output_"): value for name, value in changes.items()}
    request = body(rig) | {"input": {"prefix": place}, "output": output}
    found = client.post("/v1/jobs", params={"validate": "true"}, json=request).json()
    assert [(each["code"], each["input"]) for each in found["problems"]] == [
        ("output_is_input", place + "x.bmp"),
        ("output_is_input", place + "x.jpg"),
    ]
    assert (found["photos"], found["failing"]) == (3, 2)


def put_manifest(rig: Rig, photos: Sequence[str]) -> dict[str, str]:
    """Store a manifest of photos, and return the job input that names it."""
    lines = b"\n".join(json.dumps({"input": photo}).encode() for photo in photos)
    rig.blobs.put(BlobUri("nst", f"{rig.prefix}/m.jsonl"), lines)
    return {"manifest": f"s3://nst/{rig.prefix}/m.jsonl"}


@pytest.mark.parametrize("kind", ["uris", "manifest"])
def test_it_names_photos_that_are_not_in_the_storage(client: TestClient, rig: Rig, kind: str) -> None:
    photos = [f"s3://nst/{rig.prefix}/{name}.jpg" for name in ("here", "gone", "neither")]
    rig.blobs.put(BlobUri.parse(photos[0]), b"x")
    input: dict[str, Any] = {"uris": photos} if kind == "uris" else put_manifest(rig, photos)
    found: Any = validate(client, rig, input=input, styles=["wave", "udnie"])
    assert (found["valid"], found["photos"], found["failing"], found["objects_checked"]) == (True, 3, 4, 3)
    assert {(each["code"], each["message"]) for each in found["problems"]} == {
        ("blob_not_found", f"There is no object {photo}.") for photo in photos[1:]
    }
    where = ("/input/uris/1", "/input/uris/2") if kind == "uris" else (2, 3)
    assert [each["pointer" if kind == "uris" else "line"] for each in found["problems"]] == [
        place for place in where for _ in range(2)
    ]


def test_a_job_of_photos_that_are_all_missing_is_not_valid(client: TestClient, rig: Rig) -> None:
    found = validate(client, rig)
    assert (found["valid"], found["failing"], found["estimated_s"]) == (False, 1, None)


def test_it_can_leave_out_the_check_that_photos_exist(client: TestClient, rig: Rig) -> None:
    answer = client.post("/v1/jobs", params={"validate": "true", "objects": "false"}, json=body(rig, 2))
    found = answer.json()
    assert (found["valid"], found["failing"], found["objects_checked"]) == (True, 0, None)


def test_it_names_a_painting_that_is_not_in_the_storage(client: TestClient, rig: Rig) -> None:
    places = [f"s3://nst/{rig.prefix}/{name}" for name in ("photo.jpg", "night.jpg", "wave.jpg")]
    for place in places[:2]:
        rig.blobs.put(BlobUri.parse(place), b"x")
    request = {"method": "optimize", "input": {"uris": places[:1]}, "paintings": places[1:]}
    answer = client.post("/v1/jobs", params={"validate": "true"}, json=request)
    found = answer.json()
    assert (found["valid"], found["items"], found["failing"], found["objects_checked"]) == (True, 2, 1, 1)
    [problem] = found["problems"]
    assert (problem["code"], problem["pointer"]) == ("blob_not_found", "/paintings/1")


def test_it_names_a_mask_that_is_not_in_the_storage_once(client: TestClient, rig: Rig) -> None:
    photo = f"s3://nst/{rig.prefix}/photo.jpg"
    rig.blobs.put(BlobUri.parse(photo), b"x")
    found: Any = validate(
        client, rig, input={"uris": [photo]}, styles=["wave", "udnie"], mask=f"s3://nst/{rig.prefix}/mask.png"
    )
    assert (found["valid"], found["items"], found["failing"]) == (False, 2, 2)
    [problem] = found["problems"]
    assert (problem["code"], problem["pointer"]) == ("blob_not_found", "/mask")


def test_it_names_the_masks_of_regions_that_are_not_in_the_storage(client: TestClient, rig: Rig) -> None:
    for name in ("photo.jpg", "sky.png"):
        rig.blobs.put(BlobUri("nst", f"{rig.prefix}/{name}"), b"x")
    regions = [region(rig), region(rig, mask="gone"), region(rig, "wave", "away")]
    found: Any = validate(client, rig, input={"uris": [f"s3://nst/{rig.prefix}/photo.jpg"]}, regions=regions)
    assert (found["valid"], found["items"], found["failing"]) == (False, 1, 1)
    assert [(each["code"], each["pointer"]) for each in found["problems"]] == [
        ("blob_not_found", "/regions/1/mask"),
        ("blob_not_found", "/regions/2/mask"),
    ]


def test_it_looks_for_the_first_photos_only(client: TestClient, rig: Rig) -> None:
    photos = [f"s3://nst/{rig.prefix}/{number}.jpg" for number in range(dry_run.MAX_OBJECTS + 5)]
    found = validate(client, rig, input=put_manifest(rig, photos))
    assert (found["photos"], found["objects_checked"], found["failing"]) == (105, 100, 100)
    assert found["valid"]


def test_it_keeps_half_of_its_time_for_names(client: TestClient, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    exists = rig.service._checker._blobs.exists

    def slow(uri: BlobUri) -> bool:
        rig.clock.advance(0.5)
        return exists(uri)

    monkeypatch.setattr(rig.service._checker._blobs, "exists", slow)
    photos = [f"s3://nst/{rig.prefix}/{number}.jpg" for number in range(450)]
    found = validate(client, rig, input=put_manifest(rig, photos))
    assert (found["photos"], found["objects_checked"], found["truncated"]) == (450, 6, False)


def test_it_asks_a_storage_that_does_not_answer_once(
    client: TestClient, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[BlobUri] = []

    def down(uri: BlobUri) -> bool:
        asked.append(uri)
        raise BlobUnavailableError("The storage does not answer.")

    monkeypatch.setattr(rig.service._checker._blobs, "exists", down)
    answer = client.post("/v1/jobs", params={"validate": "true"}, json=body(rig, 3))
    found = answer.json()
    assert (answer.status_code, found["failing"], found["objects_checked"], len(asked)) == (200, 0, 0, 1)


def test_slow_dry_runs_of_one_tenant_leave_some_to_others(
    client: TestClient, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = Semaphore(0), Event()

    def look_slowly(uri: BlobUri) -> bool:
        begun.release()
        return go_on.wait(60)

    monkeypatch.setattr(rig.service._checker._blobs, "exists", look_slowly)
    other = client_of(rig, tenant=rig.add_tenant("other"))
    asked: dict[str, Any] = {"url": "/v1/jobs", "params": {"validate": "true"}, "json": body(rig)}
    with other, ThreadPoolExecutor(DRY_RUNS_OF_ONE + 1) as pool:
        slow = [pool.submit(client.post, **asked) for _ in range(DRY_RUNS_OF_ONE)]
        try:
            assert all(begun.acquire(timeout=60) for _ in slow), "all of them are at work"
            refused = client.post(**asked)
            assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
            assert refused.headers["Retry-After"] == "1"
            theirs = pool.submit(other.post, **asked)
            assert begun.acquire(timeout=60)
        finally:
            go_on.set()
    assert [each.result().status_code for each in (*slow, theirs)] == [200] * (DRY_RUNS_OF_ONE + 1)
    assert client.post(**asked).status_code == 200


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"styles": ["none"]}, "request_invalid", "/styles/0"),
        ({"deadline": "2020-01-01T00:00:00Z"}, "request_invalid", "/deadline"),
        ({"input": {"prefix": "s3://nst/nothing-here/"}}, "no_inputs", "/input"),
        ({"input": {"manifest": "s3://nst/no-manifest"}}, "blob_not_found", "/input/manifest"),
    ],
)
def test_it_reports_what_a_submission_would_refuse(
    client: TestClient, rig: Rig, changes: dict[str, object], code: str, pointer: str
) -> None:
    result = validate(client, rig, **changes)
    problems = result["problems"]
    assert isinstance(problems, list)
    assert (result["valid"], problems[0]["code"], problems[0]["pointer"]) == (False, code, pointer)


def test_it_reports_a_manifest_that_cannot_be_read_as_the_job_would(client: TestClient, rig: Rig) -> None:
    rig.blobs.put(BlobUri("nst", f"{rig.prefix}/m.jsonl"), b"[" * 50_000)
    source = {"manifest": f"s3://nst/{rig.prefix}/m.jsonl"}
    [problem] = cast("list[dict[str, object]]", validate(client, rig, input=source)["problems"])
    assert (problem["code"], problem["pointer"]) == ("input_invalid", "/input/manifest")
    job_id = rig.submit(JobInput(**source))
    rig.plan()
    rig.finalizer.tick()
    assert (rig.job(job_id).status, rig.job(job_id).error_code) == ("failed", problem["code"])


@pytest.mark.parametrize("text", ["[%s, " + '{"n": ' + "1" * 5000 + "}]", "x" * 140_000 + "\n%s"])
def test_a_manifest_with_an_excessive_line_is_checked_and_planned(client: TestClient, rig: Rig, text: str) -> None:
    photo = f"s3://nst/{rig.prefix}/a.jpg"
    rig.blobs.put(BlobUri.parse(photo), b"x")
    rig.blobs.put(BlobUri("nst", f"{rig.prefix}/m.jsonl"), (text % json.dumps({"input": photo})).encode())
    source = {"manifest": f"s3://nst/{rig.prefix}/m.jsonl"}
    found = validate(client, rig, input=source)
    assert (found["valid"], found["photos"], found["failing"]) == (True, 2, 1)
    job_id = rig.submit(JobInput(**source))
    rig.plan()
    counts = rig.job(job_id).counts
    assert (counts.total, counts.failed) == (2, 1)


def test_a_dry_run_with_a_chosen_id_makes_no_job(client: TestClient, rig: Rig) -> None:
    rig.blobs.put(BlobUri("nst", f"{rig.prefix}/in/a.jpg"), b"x")
    body = {"input": {"prefix": f"s3://nst/{rig.prefix}/in/"}, "styles": ["wave"]}
    answer = client.put("/v1/jobs/spring", params={"validate": True}, json=body)
    assert (answer.status_code, answer.json()["photos"]) == (200, 1)
    assert client.get("/v1/jobs/spring").status_code == 404
