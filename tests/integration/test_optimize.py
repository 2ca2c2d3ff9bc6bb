"""Jobs with the method optimize: requests, messages to and from workers, and what clients see."""

import json

import pytest
from fastapi.testclient import TestClient

from nst_core.client.resources.jobs import JobInput, JobStatus
from nst_core.client.resources.methods import Optimize
from nst_core.gatys.config import GatysConfig
from nst_core.gatys.presets import preset
from nst_core.protocol.chunks import OptimizeChunk, StylizeChunk, item_checkpoint_uri, preview_uri
from nst_core.protocol.events import ChunkProgress, ItemProgress
from nst_core.settings import BrokerSettings
from nst_core.storage.blobs import BlobUri
from tests.integration.conftest import (
    LEASE_S,
    LOST_AFTER_S,
    OPTIMIZE_DISPATCH_LEASE_S,
    TENANT,
    Rig,
    finished,
    read_lines,
    started,
)


def body(rig: Rig, **changes: object) -> dict[str, object]:
    """Return a request of one photo and one painting."""
    return {
        "input": {"uris": [f"s3://nst/{rig.prefix}/a.jpg"]},
        "method": "optimize",
        "paintings": [f"s3://nst/{rig.prefix}/wheat_field.png"],
    } | changes


def submit(rig: Rig, photos: int = 1, *, paintings: tuple[str, ...] = ("wheat_field.png",), **options: object) -> str:
    """Submit a job and return its id."""
    return rig.submit(
        photos,
        method="optimize",
        styles=(),
        paintings=tuple(f"s3://nst/{rig.prefix}/{name}" for name in paintings),
        optimize=Optimize(options=dict(options)),
    )


def dispatch(rig: Rig) -> list[OptimizeChunk]:
    rig.plan()
    rig.dispatcher.tick()
    return list(iter(rig.take_optimize, None))


def at(chunk: OptimizeChunk, iteration: int, *, preview: bool = False) -> ChunkProgress:
    """Return the event of a worker that has done a number of iterations."""
    progress = ItemProgress(
        index=chunk.items[0].index,
        iteration=iteration,
        iterations=500,
        losses={"content": 1.5, "style": 2.0},
        preview=preview,
    )
    return ChunkProgress(chunk_id=chunk.chunk_id, attempt=chunk.attempt, progress=(progress,))


def test_a_job_shows_its_settings(client: TestClient, rig: Rig) -> None:
    optimize = {"preset": "gatys2016", "options": {"iterations": 20, "color": "luminance"}, "preview_every": 5}
    answer = client.post("/v1/jobs", json=body(rig, optimize=optimize))
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert (job["method"], job["paintings"]) == ("optimize", [f"s3://nst/{rig.prefix}/wheat_field.png"])
    assert [style["name"] for style in job["styles"]] == ["wheat_field"]
    expected = preset("gatys2016", iterations=20, color="luminance").to_dict()
    assert job["optimize"] == {"preset": "gatys2016", "config": expected, "preview_every": 5}


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"paintings": []}, "/paintings"),
        ({"styles": ["wave"]}, "/styles"),
        ({"method": "feedforward"}, "/styles"),
        ({"method": "feedforward", "styles": ["wave"]}, "/paintings"),
        ({"method": "feedforward", "styles": ["wave"], "paintings": [], "optimize": {}}, "/optimize"),
        ({"method": "magic"}, "/method"),
        ({"strength": 0.5}, "/strength"),
        ({"preserve_color": True}, "/preserve_color"),
        ({"precision": "exact"}, "/precision"),
        ({"precision": "fp32"}, "/precision"),
        ({"stroke": 2}, "/stroke"),
        ({"look": "gallery"}, "/look"),
        ({"look": "museum"}, "/look"),
        ({"forms": "planes"}, "/forms"),
        ({"forms": "cubes"}, "/forms"),
        ({"upscale": 2}, "/upscale"),
        ({"upscale": 3}, "/upscale"),
        ({"mask": "s3://nst/mask.png"}, "/mask"),
        ({"regions": [{"style": "wave", "mask": "s3://nst/mask.png"}]}, "/regions"),
        ({"faces": "protect"}, "/faces"),
        ({"faces": "hide"}, "/faces"),
        ({"stroke": "auto"}, "/stroke"),
        ({"output": {"max_px": 400}}, "/output/max_px"),
        ({"paintings": ["s3://nst/tenants/other/uploads/u/a.jpg"]}, "/paintings/0"),
        ({"paintings": ["s3://elsewhere/a.jpg"]}, "/paintings/0"),
        ({"paintings": ["s3://nst/"]}, "/paintings/0"),
        ({"paintings": ["a.jpg"]}, "/paintings/0"),
        ({"paintings": ["s3://nst/x/a.jpg", "s3://nst/y/a.png"]}, "/paintings/1"),
        ({"optimize": {"preset": "monet"}}, "/optimize/preset"),
        ({"optimize": {"options": {"brush": 1}}}, "/optimize/options/brush"),
        ({"optimize": {"options": {"seed": 1, "iterations": "many"}}}, "/optimize/options/iterations"),
        ({"optimize": {"options": {"initial": "file"}}}, "/optimize/options/initial"),
        ({"optimize": {"options": {"content": {}, "gram": {}}}}, "/optimize/options"),
        ({"optimize": {"preview_every": -1}}, "/optimize/preview_every"),
    ],
)
def test_wrong_field_is_one_problem_that_points_to_the_field(
    client: TestClient, rig: Rig, changes: dict[str, object], pointer: str
) -> None:
    answer = client.post("/v1/jobs", json=body(rig) | changes)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "request_invalid")
    assert pointer in [error["pointer"] for error in problem["errors"]]


def test_options_are_checked_together(client: TestClient, rig: Rig) -> None:
    options = {"average_decay": 0.9, "optimizer": "adam"}  # the first one alone does not fit the preset
    assert client.post("/v1/jobs", json=body(rig, optimize={"options": options})).status_code == 202


def test_presets_are_listed_with_a_description(client: TestClient) -> None:
    found = {each["name"]: each for each in client.get("/v1/presets").json()["data"]}
    assert found["gatys2016"]["summary"].startswith("content + gram; L-BFGS, ")
    assert GatysConfig.from_dict(found["gatys2016"]["config"]) == preset("gatys2016")


def test_a_message_has_one_item_and_everything_the_worker_needs(rig: Rig) -> None:
    job_id = submit(rig, 2, paintings=("night.jpg", "day.jpg"), iterations=7)
    chunks = dispatch(rig)
    rig.report(*map(started, chunks))
    chunks += dispatch(rig)
    assert [[item.index for item in chunk.items] for chunk in chunks] == [[0], [1], [2], [3]]
    assert [chunk.painting.rpartition("/")[2] for chunk in chunks] == ["night.jpg", "day.jpg"] * 2
    assert [chunk.items[0].output.rpartition("/")[2] for chunk in chunks][:2] == ["0000__night.jpg", "0000__day.jpg"]
    first = chunks[0]
    assert first.config == preset("gatys2016", iterations=7).to_dict()
    assert (first.scratch, first.preview_every) == (f"s3://nst/tenants/{TENANT}/scratch/{job_id}/", 25)


def test_progress_is_shown_with_the_item_and_kept_after_its_end(client: TestClient, rig: Rig) -> None:
    job_id = submit(rig)
    [chunk] = dispatch(rig)
    rig.report(started(chunk))
    path = f"/v1/jobs/{job_id}/items"
    assert client.get(path).json()["data"][0]["progress"] is None
    rig.report(at(chunk, 120))
    item = client.get(path).json()["data"][0]
    expected = {"iteration": 120, "iterations": 500, "losses": {"content": 1.5, "style": 2.0}, "preview": False}
    assert (item["status"], item["progress"]) == ("running", expected)
    rig.report(at(chunk, 500, preview=True), finished(chunk))
    item = client.get(path).json()["data"][0]
    assert (item["status"], item["progress"]["iteration"]) == ("succeeded", 500)


def test_progress_of_an_outdated_attempt_is_dropped(client: TestClient, rig: Rig) -> None:
    job_id = submit(rig)
    [old] = dispatch(rig)
    rig.report(started(old), at(old, 10))
    rig.clock.advance(LEASE_S + 1)
    rig.reaper.tick()
    [new] = dispatch(rig)
    rig.report(at(old, 99), started(new), at(new, 11))
    assert client.get(f"/v1/jobs/{job_id}/items").json()["data"][0]["progress"]["iteration"] == 11


def test_a_preview_is_served_once_it_exists(client: TestClient, rig: Rig) -> None:
    job_id = submit(rig)
    [chunk] = dispatch(rig)
    path = f"/v1/jobs/{job_id}/items/0/preview"
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    rig.blobs.put(BlobUri.parse(preview_uri(chunk.scratch, 0)), b"jpeg")
    answer = client.get(path)
    assert (answer.content, answer.headers["content-type"]) == (b"jpeg", "image/jpeg")


def test_results_name_method_painting_and_preset(rig: Rig) -> None:
    job_id, other_id = submit(rig), rig.submit(1)
    [chunk] = dispatch(rig)
    rig.report(started(chunk), finished(chunk))
    rig.run_to_end()
    [line] = [json.loads(line) for line in read_lines(rig, rig.job(job_id), "results.jsonl")]
    assert {name: line[name] for name in ("method", "style", "painting", "preset")} == {
        "method": "optimize",
        "style": "wheat_field",
        "painting": f"s3://nst/{rig.prefix}/wheat_field.png",
        "preset": "gatys2016",
    }
    assert (line["engine"], line["precision"]) == (None, None)
    [line] = [json.loads(line) for line in read_lines(rig, rig.job(other_id), "results.jsonl")]
    assert (line["method"], line["style_version"]) == ("feedforward", "wave" * 4)


def test_optimisations_do_not_use_the_window_of_the_other_method(rig: Rig) -> None:
    submit(rig, 20)
    rig.submit(100)
    rig.plan()
    for _ in range(3):
        rig.dispatcher.tick()
    assert rig.broker.queued(OptimizeChunk.queue) == 2
    assert rig.broker.queued(StylizeChunk.queue) == 4


def test_a_lost_message_is_sent_again_although_the_other_queue_is_full(rig: Rig) -> None:
    submit(rig)
    [lost] = dispatch(rig)
    rig.submit(100)
    rig.plan()
    rig.dispatcher.tick()
    assert not rig.reaper.tick()
    rig.clock.advance(LOST_AFTER_S + 1)
    assert rig.reaper.tick()
    [again] = dispatch(rig)
    assert (again.chunk_id, again.attempt) == (lost.chunk_id, 2)
    assert rig.broker.queued(StylizeChunk.queue) == 4, "those are not lost"


def test_a_chunk_may_wait_long_behind_other_optimisations(rig: Rig) -> None:
    submit(rig)
    rig.plan()
    rig.dispatcher.tick()
    rig.clock.advance(OPTIMIZE_DISPATCH_LEASE_S - 1)
    assert not rig.reaper.tick()
    rig.clock.advance(2)
    assert rig.reaper.tick()


def test_deaths_of_workers_do_not_fail_an_item_that_makes_progress(rig: Rig) -> None:
    job_id = submit(rig)
    for number in range(1, 6):
        [chunk] = dispatch(rig)
        rig.report(started(chunk), at(chunk, 10 * number))
        rig.clock.advance(LEASE_S + 1)
        rig.reaper.tick()
    assert rig.job(job_id).counts.pending == 1
    for _ in range(2):  # the third attempt in a row without progress
        [chunk] = dispatch(rig)
        rig.report(started(chunk), at(chunk, 50))
        rig.clock.advance(LEASE_S + 1)
        rig.reaper.tick()
    assert rig.job(job_id).counts.failed == 1


def test_checkpoints_of_a_job_that_ended_are_removed_and_previews_kept(rig: Rig) -> None:
    job_id = submit(rig, 3)
    chunks = dispatch(rig)
    for chunk in chunks:
        for uri in (item_checkpoint_uri, preview_uri):
            rig.blobs.put(BlobUri.parse(uri(chunk.scratch, chunk.items[0].index)), b"data")
    rig.report(started(chunks[0]))
    rig.service.cancel(TENANT, job_id)
    for chunk in chunks:
        rig.report(finished(chunk, lambda index: None))
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert (job.status, job.counts.cancelled) == (JobStatus.CANCELLED, 3)
    left = rig.blobs.list_keys(BlobUri.parse(chunks[0].scratch))
    assert [key.rpartition("scratch/")[2] for key in left] == [f"{job_id}/previews/{index}.jpg" for index in (0, 1)]


def test_a_job_that_reads_the_whole_prefix_of_its_tenant_skips_previews(rig: Rig) -> None:
    tenant = f"tenants/{TENANT}"
    for key in (f"{tenant}/uploads/{rig.prefix}/a.jpg", f"{tenant}/scratch/job_1/previews/0.jpg"):
        rig.blobs.put(BlobUri("nst", key), b"")
    job_id = rig.submit(JobInput(prefix=f"s3://nst/{tenant}/"), output_prefix=f"s3://nst/{rig.prefix}/out")
    rig.plan()
    found = [item.input for item in rig.service.items(TENANT, job_id, limit=1000, after=-1)]
    assert f"s3://nst/{tenant}/uploads/{rig.prefix}/a.jpg" in found
    assert not [uri for uri in found if "/scratch/" in uri]


def test_results_cannot_be_written_among_previews(client: TestClient, rig: Rig) -> None:
    changes = {"output": {"prefix": f"s3://nst/tenants/{TENANT}/scratch/x/"}}
    answer = client.post("/v1/jobs", json=body(rig) | changes)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/output/prefix")


def test_messages_are_sent_again_after_redis_was_flushed(rig: Rig, redis_server: BrokerSettings) -> None:
    job_id = submit(rig)
    rig.plan()
    rig.dispatcher.tick()
    rig.broker._redis.flushall()
    rig.reaper.tick()
    rig.clock.advance(LOST_AFTER_S + 1)
    assert rig.reaper.tick()
    [chunk] = dispatch(rig)
    rig.report(started(chunk), finished(chunk))
    rig.finalizer.tick()
    assert rig.job(job_id).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("name", ["Starry Night (1889) é", "a:b", "b:2,a:3", "50% + more", "x" * 80])
def test_items_are_filtered_by_a_painting_of_any_name(client: TestClient, rig: Rig, name: str) -> None:
    place = f"s3://nst/{rig.prefix}"
    paintings = [f"{place}/{name}.jpg", f"{place}/other.jpg"]
    request = {"input": {"uris": [f"{place}/1.jpg"]}, "method": "optimize", "paintings": paintings}
    job = client.post("/v1/jobs", json=request).json()
    rig.plan()
    style = job["styles"][0]["name"]
    assert style == name[:64]
    answer = client.get(f"/v1/jobs/{job['id']}/items", params={"style": style})
    assert answer.status_code == 200, answer.text
    assert [item["id"] for item in answer.json()["data"]] == [0]
    wrong = client.get(f"/v1/jobs/{job['id']}/items", params={"style": "none\0"})
    assert (wrong.status_code, wrong.json()["data"]) == (200, [])
    assert client.get(f"/v1/jobs/{job['id']}/items", params={"style": "x" * 2000}).status_code == 422
