"""Jobs, runs and uploads are deleted with all their objects in storage, and a failed deletion delays no other."""

from collections.abc import Callable
from functools import partialmethod
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from nst_core.client.resources.jobs import JobInput, JobStatus
from nst_core.client.resources.runs import RunStatus
from nst_core.clock import Clock
from nst_core.errors import BlobUnavailableError
from nst_core.protocol.segments import StoredFile
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.access.idempotency import KEPT_S
from scheduler.domain.addresses import scratch_key
from scheduler.domain.runs import place_key
from scheduler.retention import removal
from scheduler.retention.retention import Lifetimes, Retention
from scheduler.store import runs as run_rows
from scheduler.store import segments as segment_rows
from scheduler.store.database import Database
from scheduler.store.tenants import Tenant
from tests.integration.conftest import TENANT, FakeClock, Rig
from tests.integration.job_kit import body, end, end_with_images, failing
from tests.integration.runs.kit import RunRig

DAY_S = 24 * 3600.0
NEVER = Lifetimes()


def new_retention(
    rig: Rig, lifetimes: Lifetimes = NEVER, *, blobs: BlobStore | None = None, timer: Clock | None = None
) -> Retention:
    """Return what deletes; `timer` is its steady clock."""
    return Retention(
        rig.database,
        blobs or rig.blobs,
        clock=rig.clock,
        lifetimes=lifetimes,
        idempotency=rig.idempotency,
        item_times=rig.item_times,
        timer=timer or rig.clock,
    )


def remove(rig: Rig, lifetimes: Lifetimes = NEVER, *, blobs: BlobStore | None = None) -> None:
    """Run retention until nothing is left to delete."""
    retention = new_retention(rig, lifetimes, blobs=blobs)
    while retention.tick():
        pass


def run_with_images(rig: Rig, count: int, **changes: object) -> tuple[str, list[str]]:
    """Run a job with a worker that writes real objects, and return the job's id and the addresses of the objects."""
    rig.clock.advance(0.01)
    job = rig.service.submit(TENANT, rig.request(count, **changes))[0]
    end_with_images(rig)
    assert rig.job(job.id).status is JobStatus.SUCCEEDED
    outputs = [item.output for item in rig.service.items(TENANT, job.id, limit=1000, after=-1)]
    return job.id, outputs


def keys(rig: Rig, prefix: str) -> list[str]:
    return rig.blobs.list_keys(BlobUri("nst", prefix))


def count(database: Database, table: str) -> int:
    with database.read() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


@pytest.mark.parametrize("results", [False, True])
def test_a_deleted_job_is_gone_at_once_and_its_objects_soon_after(client: TestClient, rig: Rig, results: bool) -> None:
    job_id, outputs = run_with_images(rig, 6)
    scratch = scratch_key(TENANT, job_id)
    rig.blobs.put(BlobUri("nst", scratch + "previews/0.jpg"), b"x")
    assert client.delete(f"/v1/jobs/{job_id}", params={"results": results}).status_code == 204
    for path in ("", "/items", "/results", "/input"):
        assert client.get(f"/v1/jobs/{job_id}{path}").status_code == 404
    assert client.get("/v1/jobs").json()["data"] == []
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 404
    remove(rig)
    assert keys(rig, scratch) == []
    assert [rig.blobs.exists(BlobUri.parse(output)) for output in outputs] == [not results] * 6
    assert bool(keys(rig, f"tenants/{TENANT}/jobs/{job_id}/")) is not results
    assert [count(rig.database, table) for table in ("jobs", "items", "chunks")] == [0, 0, 0]


def test_a_repeated_request_for_a_deleted_job_makes_no_other(client: TestClient, rig: Rig) -> None:
    headers = {"Idempotency-Key": "k"}
    job_id = client.post("/v1/jobs", json=body(rig), headers=headers).json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    rig.finalizer.tick()
    client.delete(f"/v1/jobs/{job_id}")
    for _ in range(2):
        again = client.post("/v1/jobs", json=body(rig), headers=headers)
        assert (again.status_code, again.json()["code"]) == (409, "idempotency_resource_deleted")
        assert job_id in again.json()["detail"]
        remove(rig)
    assert count(rig.database, "jobs") == 0
    rig.clock.advance(KEPT_S + 1)
    remove(rig)
    assert client.post("/v1/jobs", json=body(rig), headers=headers).status_code == 202


def test_results_under_a_prefix_of_the_client_are_deleted_one_by_one(client: TestClient, rig: Rig) -> None:
    place = f"s3://nst/{rig.prefix}/out/"
    job_id, outputs = run_with_images(rig, 3, output_prefix=place)
    rig.blobs.put(BlobUri.parse(place + "own.txt"), b"not a result")
    rig.blobs.put(BlobUri.parse(outputs[1]), b"another job has written here since")
    client.delete(f"/v1/jobs/{job_id}", params={"results": True})
    remove(rig)
    left = [f"s3://nst/{key}" for key in keys(rig, f"{rig.prefix}/out/")]
    assert sorted(left) == sorted([place + "own.txt", outputs[1]])


def test_reports_shared_with_another_job_are_kept(client: TestClient, rig: Rig) -> None:
    place = f"s3://nst/{rig.prefix}/out/"
    first, outputs = run_with_images(rig, 1, output_prefix=place)
    run_with_images(rig, 2, output_prefix=place, output_name="other_{stem}.{ext}")
    client.delete(f"/v1/jobs/{first}", params={"results": True})
    remove(rig)
    assert not rig.blobs.exists(BlobUri.parse(outputs[0]))
    assert rig.blobs.exists(BlobUri.parse(place + "results.jsonl"))


def exist(rig: Rig, outputs: list[str]) -> set[bool]:
    return {rig.blobs.exists(BlobUri.parse(output)) for output in outputs}


def test_images_that_a_repeated_job_has_made_again_are_kept_until_it_is_deleted_too(
    client: TestClient, rig: Rig
) -> None:
    place = f"s3://nst/{rig.prefix}/out/"
    first, _ = run_with_images(rig, 3, output_prefix=place)
    second, outputs = run_with_images(rig, 3, output_prefix=place)
    client.delete(f"/v1/jobs/{first}", params={"results": True})
    remove(rig)
    assert exist(rig, outputs) == {True}
    assert client.get(f"/v1/jobs/{second}/items/0/output").status_code == 200
    assert rig.blobs.exists(BlobUri.parse(place + "results.jsonl"))
    third, _ = run_with_images(rig, 3, output_prefix=place)
    for job_id in (second, third):
        client.delete(f"/v1/jobs/{job_id}", params={"results": True})
    remove(rig)
    assert keys(rig, f"{rig.prefix}/out/") == []


def test_images_of_another_tenants_job_are_kept(client: TestClient, rig: Rig) -> None:
    place, other = f"s3://nst/{rig.prefix}/out/", rig.add_tenant("other")
    first, outputs = run_with_images(rig, 2, output_prefix=place)
    rig.service.submit(other, rig.request(2, output_prefix=place))
    end_with_images(rig)
    client.delete(f"/v1/jobs/{first}", params={"results": True})
    remove(rig)
    assert exist(rig, outputs) == {True}


@pytest.mark.parametrize("below", ["", "sub/"])
@pytest.mark.parametrize("ended", [False, True])
def test_results_of_another_job_in_a_jobs_own_place_are_kept(
    client: TestClient, rig: Rig, below: str, ended: bool
) -> None:
    first, outputs = run_with_images(rig, 3)
    place = f"s3://nst/tenants/{TENANT}/jobs/{first}/{below}"
    rig.clock.advance(0.01)
    job = rig.service.submit(TENANT, rig.request(2, output_prefix=place))[0]
    if ended:
        end_with_images(rig)
    else:
        rig.plan()
    theirs = [item.output for item in rig.service.items(TENANT, job.id, limit=9, after=-1)]
    if not ended:
        rig.blobs.put(BlobUri.parse(theirs[0]), b"x")
    client.delete(f"/v1/jobs/{first}", params={"results": True})
    remove(rig)
    assert exist(rig, theirs[:1]) == {True}
    assert exist(rig, sorted({*outputs} - {*theirs})) == {False}
    if ended:
        assert exist(rig, [*theirs, place + "results.jsonl"]) == {True}


def test_an_image_that_another_job_failed_to_make_is_deleted(client: TestClient, rig: Rig) -> None:
    place = f"s3://nst/{rig.prefix}/out/"
    first, outputs = run_with_images(rig, 2, output_prefix=place)
    rig.clock.advance(0.01)
    rig.service.submit(TENANT, rig.request(2, output_prefix=place))
    end(rig, failing(0))
    client.delete(f"/v1/jobs/{first}", params={"results": True})
    remove(rig)
    assert [rig.blobs.exists(BlobUri.parse(output)) for output in outputs] == [False, True]


def test_a_sweep_goes_on_behind_more_spared_objects_than_it_looks_at(
    client: TestClient, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_OBJECTS", 1000)
    monkeypatch.setattr(BlobStore, "list_keys", partialmethod(few, BlobStore.list_keys))
    first, _ = run_with_images(rig, 1)
    place = f"s3://nst/tenants/{TENANT}/jobs/{first}/"
    _, theirs = run_with_images(rig, 5, output_prefix=place, output_name="a{index}.{ext}")
    rig.blobs.put(BlobUri.parse(place + "z.txt"), b"x")
    client.delete(f"/v1/jobs/{first}", params={"results": True})
    remove(rig)
    assert exist(rig, theirs) == {True}
    assert not rig.blobs.exists(BlobUri.parse(place + "z.txt"))


def few(store: BlobStore, real: Any, prefix: BlobUri, *, after: str = "", limit: int = 1000) -> Any:
    """List two keys at once."""
    return real(store, prefix, after=after, limit=min(limit, 2))


def test_a_job_or_run_that_has_not_ended_cannot_be_deleted(client: TestClient, rig: Rig) -> None:
    job_id, run_id = rig.submit(2), RunRig(rig).add()
    for path in (f"/v1/jobs/{job_id}", f"/v1/runs/{run_id}"):
        answer = client.delete(path)
        assert (answer.status_code, answer.json()["code"]) == (409, "unfinished")
        assert client.get(path).status_code == 200


def test_a_job_that_cannot_be_removed_delays_no_other(rig: Rig, client: TestClient) -> None:
    stuck = [run_with_images(rig, 1)[0] for _ in range(11)]
    last, outputs = run_with_images(rig, 1)
    for job_id in [*stuck, last]:
        client.delete(f"/v1/jobs/{job_id}", params={"results": True})

    class Broken(BlobStore):
        """A storage that refuses to delete the objects of the first jobs."""

        def list_keys(self, prefix: BlobUri, *, after: str = "", limit: int = 1000) -> list[str]:
            if any(job_id in prefix.key for job_id in stuck):
                raise BlobUnavailableError("The bucket is gone.")
            return rig.blobs.list_keys(prefix, after=after, limit=limit)

    broken = Broken.__new__(Broken)
    vars(broken).update(vars(rig.blobs))
    retention = new_retention(rig, blobs=broken)
    for _ in range(4):
        retention.tick()
        rig.clock.advance(61)
    assert not rig.blobs.exists(BlobUri.parse(outputs[0]))
    assert count(rig.database, "jobs") == 11
    remove(rig)
    assert count(rig.database, "jobs") == 0


def test_deletions_go_on_after_the_clock_was_set_back(rig: Rig, client: TestClient) -> None:
    steady = FakeClock(100.0)
    retention = new_retention(rig, timer=steady)
    rig.clock.advance(DAY_S)
    assert not retention.tick()
    rig.clock.advance(-DAY_S)
    job_id, outputs = run_with_images(rig, 1)
    client.delete(f"/v1/jobs/{job_id}", params={"results": True})
    steady.advance(61)
    while retention.tick():
        pass
    assert not rig.blobs.exists(BlobUri.parse(outputs[0]))


def ended_run(rig: Rig, runs: RunRig, status: RunStatus = RunStatus.SUCCEEDED) -> str:
    """Return an ended run with objects in each of its folders."""
    run_id = runs.add()
    place = place_key(TENANT, run_id)
    names = ("samples/cat_00000010.jpg", "losses/x.csv", "painting.png", "initial.safetensors")
    for name in ("checkpoints/00000010-1-aa.safetensors", *names):
        rig.blobs.put(BlobUri("nst", place + name), b"x")
    with rig.database.write() as connection:
        checkpoint = StoredFile(uri=f"s3://nst/{place}checkpoints/00000010-1-aa.safetensors", sha256="0" * 64)
        run_rows.update_run(
            connection, run_id, status=status, finished_at=rig.clock(), checkpoint=checkpoint, step=10, attempt=1
        )
    return run_id


def test_a_deleted_run_loses_its_objects_but_not_its_styles(client: TestClient, rig: Rig) -> None:
    runs = RunRig(rig)
    run_id, other = ended_run(rig, runs), ended_run(rig, runs)
    assert client.delete(f"/v1/runs/{run_id}").status_code == 204
    assert client.get(f"/v1/runs/{run_id}").status_code == 404
    assert [each["id"] for each in client.get("/v1/runs").json()["data"]] == [other]
    for action in ("resume", "extend", "publish"):
        body = {"steps": 1000} if action == "extend" else None
        assert client.post(f"/v1/runs/{run_id}/{action}", json=body).status_code == 404
    remove(rig)
    assert keys(rig, place_key(TENANT, run_id)) == []
    assert len(keys(rig, place_key(TENANT, other))) == 5
    assert count(rig.database, "runs") == 1
    assert client.get("/v1/styles/wave").status_code == 200


def test_checkpoints_and_samples_have_a_lifetime(client: TestClient, rig: Rig) -> None:
    runs = RunRig(rig)
    old = ended_run(rig, runs, RunStatus.FAILED)
    rig.clock.advance(20 * DAY_S)
    young = ended_run(rig, runs, RunStatus.FAILED)
    rig.clock.advance(11 * DAY_S)
    remove(rig, Lifetimes(checkpoints=30.0))
    while runs.tidier.tick():
        pass
    names = [key.removeprefix(place_key(TENANT, old)) for key in keys(rig, place_key(TENANT, old))]
    assert names == ["painting.png"] or names == ["losses/x.csv", "painting.png"]
    assert len(keys(rig, place_key(TENANT, young))) == 5
    for path, steps in (("resume", None), ("extend", {"steps": 1000})):
        answer = client.post(f"/v1/runs/{old}/{path}", json=steps)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "deleted" in answer.json()["detail"]
    assert client.post(f"/v1/runs/{old}/fork", json={"steps": 10}).status_code == 409
    assert client.post(f"/v1/runs/{young}/resume").status_code == 202
    with rig.database.read() as connection:
        assert segment_rows.kept_checkpoints(connection, [old]) == {old: []}


def test_runs_have_a_lifetime(client: TestClient, rig: Rig) -> None:
    run_id = ended_run(rig, RunRig(rig))
    rig.clock.advance(2 * DAY_S)
    remove(rig, Lifetimes(runs=3.0))
    assert client.get(f"/v1/runs/{run_id}").status_code == 200
    rig.clock.advance(2 * DAY_S)
    remove(rig, Lifetimes(runs=3.0))
    assert client.get(f"/v1/runs/{run_id}").status_code == 404
    assert keys(rig, place_key(TENANT, run_id)) == []


def upload(client: TestClient, *names: str) -> tuple[str, str]:
    """Make an upload with files, and return its id and its prefix."""
    made = client.post("/v1/uploads").json()
    for name in names:
        assert client.put(f"/v1/uploads/{made['id']}/{name}", content=b"x").status_code == 201
    return made["id"], made["prefix"]


def test_uploads_are_listed_to_the_end_although_each_page_is_deleted(client: TestClient, rig: Rig) -> None:
    ids = []
    for number in range(5):
        rig.clock.advance(number % 2)  # some have the same time
        ids.append(upload(client)[0])
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = client.get("/v1/uploads", params=query).json()
        for each in page["data"]:
            seen.append(each["id"])
            assert client.delete(f"/v1/uploads/{each['id']}").status_code == 204
        remove(rig)
        if not page["has_more"]:
            break
        query["after_id"] = page["last_id"]
    assert (len(seen), set(seen)) == (5, set(ids))
    assert client.get("/v1/uploads").json()["data"] == []


def test_uploads_are_listed_after_an_id_unless_there_is_none(client: TestClient) -> None:
    first, second = upload(client)[0], upload(client)[0]
    newest, oldest = [each["id"] for each in client.get("/v1/uploads").json()["data"]]
    assert {newest, oldest} == {first, second}
    rest = client.get("/v1/uploads", params={"after_id": newest}).json()["data"]
    assert [each["id"] for each in rest] == [oldest]
    for unknown in ("upl_" + "0" * 24, f"{newest}-nan", f"{newest}-1e400", f"{newest}-", f"{newest}-1." + "9" * 30):
        refused = client.get("/v1/uploads", params={"after_id": unknown})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/after_id")


def test_uploads_are_listed_shown_and_deleted(client: TestClient, rig: Rig) -> None:
    ids = []
    for _ in range(3):
        rig.clock.advance(1)
        ids.append(upload(client, "a.jpg", "b/c.jpg")[0])
    page = client.get("/v1/uploads", params={"limit": 2}).json()
    rest = client.get("/v1/uploads", params={"after_id": page["last_id"]}).json()
    assert [each["id"] for each in page["data"] + rest["data"]] == ids[::-1]
    shown = client.get(f"/v1/uploads/{ids[0]}").json()
    assert shown == rest["data"][0]
    assert client.get(f"/v1/uploads/{ids[0]}", follow_redirects=False).status_code == 200
    assert client.delete(f"/v1/uploads/{ids[0]}").status_code == 204
    assert client.get(f"/v1/uploads/{ids[0]}").status_code == 404
    late = client.put(f"/v1/uploads/{ids[0]}/late.jpg", content=b"x")
    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    remove(rig)
    assert keys(rig, shown["prefix"].removeprefix("s3://nst/")) == []
    assert [each["id"] for each in client.get("/v1/uploads").json()["data"]] == ids[:0:-1]


def test_results_in_an_upload_stay_when_it_is_deleted(client: TestClient, rig: Rig) -> None:
    upload_id, prefix = upload(client, "a.jpg")
    job_id, outputs = run_with_images(rig, 2, output_prefix=prefix + "out/")
    assert client.delete(f"/v1/uploads/{upload_id}").status_code == 204
    remove(rig)
    assert exist(rig, [*outputs, prefix + "out/results.jsonl"]) == {True}
    assert exist(rig, [prefix + "a.jpg"]) == {False}
    client.delete(f"/v1/jobs/{job_id}", params={"results": True})
    remove(rig)
    assert keys(rig, prefix.removeprefix("s3://nst/")) == []


#: Prefixes that have the files of an upload below them, which has one itself.
ABOVE: dict[str, Callable[[str], str]] = {
    "itself": lambda prefix: prefix,
    "without the slash": lambda prefix: prefix.removesuffix("/"),
    "of all uploads": lambda prefix: prefix[: prefix.index("upl_")],
    "part of the id": lambda prefix: prefix[:-3],
}
NEEDS: dict[str, Callable[[str], JobInput]] = {
    "below it": lambda prefix: JobInput(prefix=prefix + "b/"),
    "uris": lambda prefix: JobInput(uris=(prefix + "a.jpg",)),
    "manifest": lambda prefix: JobInput(manifest=prefix + "m.jsonl"),
}


@pytest.mark.parametrize("kind", [*ABOVE, *NEEDS])
def test_an_upload_that_a_job_needs_is_not_deleted(client: TestClient, rig: Rig, kind: str) -> None:
    upload_id, prefix = upload(client, "a.jpg")
    job_id = rig.submit(JobInput(prefix=ABOVE[kind](prefix)) if kind in ABOVE else NEEDS[kind](prefix))
    answer = client.delete(f"/v1/uploads/{upload_id}")
    assert (answer.status_code, answer.json()["code"]) == (409, "in_use")
    rig.service.cancel(TENANT, job_id)
    rig.finalizer.tick()
    assert client.delete(f"/v1/uploads/{upload_id}").status_code == 204


@pytest.mark.parametrize("kind", ABOVE)
def test_an_upload_that_a_training_needs_is_not_deleted(client: TestClient, rig: Rig, kind: str) -> None:
    upload_id, prefix = upload(client, "a.jpg")
    RunRig(rig).add(photos=ABOVE[kind](prefix))
    assert client.delete(f"/v1/uploads/{upload_id}").json()["code"] == "in_use"


def test_an_upload_is_deleted_while_a_job_reads_another_one(client: TestClient, rig: Rig) -> None:
    uploads = [upload(client, "a.jpg") for _ in range(2)]
    rig.submit(JobInput(prefix=uploads[0][1].removesuffix("/")))
    codes = [client.delete(f"/v1/uploads/{id}").status_code for id, _ in uploads]
    assert codes == [409, 204]


def test_the_lifetime_of_an_upload_starts_at_its_last_use(client: TestClient, rig: Rig) -> None:
    old, used, named = (upload(client, "a.jpg") for _ in range(3))
    rig.clock.advance(20 * DAY_S)
    client.put(f"/v1/uploads/{used[0]}/b.jpg", content=b"x")
    job_id = rig.submit(JobInput(prefix=named[1]))
    rig.service.cancel(TENANT, job_id)
    rig.finalizer.tick()
    rig.clock.advance(11 * DAY_S)
    remove(rig, Lifetimes(uploads=30.0))
    listed = {each["id"] for each in client.get("/v1/uploads").json()["data"]}
    assert listed == {used[0], named[0]}
    assert keys(rig, old[1].removeprefix("s3://nst/")) == []
    rig.clock.advance(31 * DAY_S)
    remove(rig, Lifetimes(uploads=30.0))
    assert client.get("/v1/uploads").json()["data"] == []
    remove(rig)
    assert keys(rig, f"tenants/{TENANT}/uploads/{named[0]}/") == []


@pytest.mark.parametrize("kind", ["job", "training"])
@pytest.mark.parametrize("place", ["itself", "without the slash"])
def test_an_upload_outlives_the_end_of_what_used_it(client: TestClient, rig: Rig, kind: str, place: str) -> None:
    upload_id, prefix = upload(client, "a.jpg")
    runs, used = RunRig(rig), ABOVE[place](prefix)
    used_by = rig.submit(JobInput(prefix=used)) if kind == "job" else runs.add(photos=used)
    rig.clock.advance(35 * DAY_S)
    if kind == "job":
        rig.service.cancel(TENANT, used_by)
        rig.finalizer.tick()
    else:
        runs.change(used_by, status=RunStatus.FAILED, finished_at=rig.clock())
    for days, kept in ((0, True), (29, True), (2, False)):
        rig.clock.advance(days * DAY_S)
        remove(rig, Lifetimes(uploads=30.0))
        assert client.get(f"/v1/uploads/{upload_id}").status_code == (200 if kept else 404)
        assert bool(keys(rig, prefix.removeprefix("s3://nst/"))) is kept


def test_a_client_may_choose_the_id_of_an_upload(client: TestClient) -> None:
    upload_id = "upl_" + "ab" * 12
    assert client.get(f"/v1/uploads/{upload_id}").status_code == 404
    for _ in range(2):
        assert client.put(f"/v1/uploads/{upload_id}/a.jpg", content=b"x").status_code == 201
    assert client.get(f"/v1/uploads/{upload_id}").json()["id"] == upload_id
    assert client.put("/v1/uploads/mine/a.jpg", content=b"x").status_code == 404


def test_the_number_of_uploads_of_a_tenant_is_limited(client: TestClient, rig: Rig) -> None:
    rig.service.tenants.put(Tenant(id=TENANT, limits={"max_uploads": 2}))
    kept = upload(client)[0]
    upload(client)
    answer = client.post("/v1/uploads")
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    other = client.put("/v1/uploads/upl_" + "cd" * 12 + "/a.jpg", content=b"x")
    assert other.json()["code"] == "quota_exceeded"
    client.delete(f"/v1/uploads/{kept}")
    remove(rig)
    assert client.post("/v1/uploads").status_code == 201
