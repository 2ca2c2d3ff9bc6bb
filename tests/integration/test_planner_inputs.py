"""Planning from prefixes and manifests, with the mistakes that clients make in them."""

import json

import pytest

from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import JobInput, JobRequest, JobStatus
from nst_core.settings import StorageSettings
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.domain.errors import RequestInvalidError
from scheduler.local.servers import HOST, free_port
from scheduler.store import jobs as job_rows
from scheduler.store.items import Item
from tests.integration.conftest import TENANT, Rig


def put(rig: Rig, *names: str) -> str:
    """Store empty objects, and return their common prefix."""
    for name in names:
        rig.blobs.put(BlobUri("nst", f"{rig.prefix}/{name}"), b"")
    return f"s3://nst/{rig.prefix}/"


def manifest(rig: Rig, *lines: object) -> JobInput:
    """Store a manifest. Lines that are not strings are written as JSON."""
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    uri = BlobUri("nst", f"{rig.prefix}/manifest.jsonl")
    rig.blobs.put(uri, text.encode())
    return JobInput(manifest=str(uri))


def items(rig: Rig, job_id: str) -> list[Item]:
    rig.plan()
    rig.job(job_id)
    return rig.service.items(TENANT, job_id, limit=10_000, after=-1)


def test_prefix_includes_all_sub_folders_and_results_keep_them(rig: Rig) -> None:
    prefix = put(rig, "in/b.jpg", "in/a.PNG", "in/notes.txt", "in/x/y/c.tiff", "other/d.jpg")
    found = items(rig, rig.submit(JobInput(prefix=prefix + "in/"), output_prefix=prefix + "out"))
    assert [(item.input, item.output) for item in found] == [
        (f"{prefix}in/a.PNG", f"{prefix}out/a__wave.png"),
        (f"{prefix}in/b.jpg", f"{prefix}out/b__wave.jpg"),
        (f"{prefix}in/x/y/c.tiff", f"{prefix}out/x/y/c__wave.png"),
    ]


def test_each_photo_of_a_prefix_with_many_pages_is_planned_once(rig: Rig) -> None:
    prefix = put(rig, *(f"in/{number:03d}.jpg" for number in range(35)))
    found = items(rig, rig.submit(JobInput(prefix=prefix + "in/"), styles=("udnie", "wave")))
    assert [item.index for item in found] == list(range(70))
    assert len({(item.input, item.style) for item in found}) == 70


def test_results_of_a_job_are_not_its_input(rig: Rig) -> None:
    prefix = put(rig, "a.jpg", "out/earlier.jpg")
    found = items(rig, rig.submit(JobInput(prefix=prefix), output_prefix=prefix + "out/"))
    assert [item.input for item in found] == [prefix + "a.jpg"]


def test_prefix_without_photos_fails_the_job(rig: Rig) -> None:
    job_id = rig.submit(JobInput(prefix=f"s3://nst/{rig.prefix}/nothing/"))
    rig.plan()
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "no_inputs")


def test_manifest_gives_custom_ids_and_bad_lines_fail_alone(rig: Rig) -> None:
    good = f"s3://nst/{rig.prefix}/a.jpg"
    source = manifest(
        rig,
        {"input": good, "custom_id": "first"},
        "{broken",
        "",
        {"custom_id": "no input"},
        {"input": "s3://elsewhere/a.jpg"},
        {"input": 5},
        [1],
        {"input": f"s3://nst/{rig.prefix}/b.jpg", "custom_id": 7},
        {"input": "s3://nst/tenants/other/uploads/u/a.jpg"},
        {"input": "s3://nst/\ud800.jpg"},
        {"input": "s3://nst/nul\0.jpg"},
        {"input": good, "custom_id": "\ud800"},
        {"input": good, "custom_id": "nul\0"},
        "[" * 50_000,
        {"input": good, "mask": "s3://nst/tenants/other/uploads/u/a.png"},
        {"input": good, "mask": 7},
        {"input": good, "mask": "mask.png"},
        {"input": good, "regions": [None, "s3://nst/tenants/other/uploads/u/a.png"]},
        {"input": f"s3://nst/{rig.prefix}/c.png"},
    )
    found = items(rig, rig.submit(source))
    assert [(item.custom_id, item.status) for item in found][:2] == [
        ("first", ItemStatus.PENDING),
        (None, ItemStatus.FAILED),
    ]
    assert [item.status for item in found] == ["pending"] + ["failed"] * 16 + ["pending"]
    assert {item.error_code for item in found if item.status is ItemStatus.FAILED} == {"input_invalid"}
    assert "Line 2 of the manifest" in str(found[1].error_message)


def test_a_mask_for_a_method_that_takes_none_fails_its_photo(rig: Rig) -> None:
    photos = [f"s3://nst/{rig.prefix}/{name}.jpg" for name in "ab"]
    source = manifest(rig, {"input": photos[0], "mask": f"s3://nst/{rig.prefix}/m.png"}, {"input": photos[1]})
    request = JobRequest(input=source, method="optimize", paintings=(f"s3://nst/{rig.prefix}/p.jpg",))
    found = items(rig, rig.service.submit(TENANT, request).value.id)
    assert [(item.status, item.error_code) for item in found] == [("failed", "input_invalid"), ("pending", None)]
    assert found[0].error_message == "The method optimize takes no masks."


def test_masks_of_regions_need_a_method_that_takes_masks_and_a_job_with_regions(rig: Rig) -> None:
    line = {"input": f"s3://nst/{rig.prefix}/a.jpg", "regions": [f"s3://nst/{rig.prefix}/m.png"]}
    request = JobRequest(input=manifest(rig, line), method="optimize", paintings=(f"s3://nst/{rig.prefix}/p.jpg",))
    [optimized] = items(rig, rig.service.submit(TENANT, request).value.id)
    [painted] = items(rig, rig.submit(manifest(rig, line)))
    assert [(item.status, item.error_code) for item in (optimized, painted)] == [("failed", "input_invalid")] * 2
    assert optimized.error_message == "The method optimize takes no masks."
    assert painted.error_message == "The line has more masks of regions than the job has regions: 1 and 0."


def test_missing_manifest_fails_the_job_with_its_code(rig: Rig) -> None:
    job_id = rig.submit(JobInput(manifest=f"s3://nst/{rig.prefix}/none.jsonl"))
    rig.plan()
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "blob_not_found")


def test_manifest_that_is_not_text_fails_the_job(rig: Rig) -> None:
    job_id = rig.submit(manifest(rig, "x" * 2_000_000))
    rig.plan()
    rig.finalizer.tick()
    job = rig.job(job_id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "blob_too_large")
    assert "Line 1 of the manifest" in str(job.error_message)


def test_job_whose_storage_fails_waits_and_delays_no_other(rig: Rig) -> None:
    stuck = rig.submit(manifest(rig, {"input": "s3://nst/a.jpg"}))
    passing = rig.submit(1)
    real = rig.planner._blobs
    rig.planner._blobs = BlobStore(
        StorageSettings(s3_endpoint=f"http://{HOST}:{free_port()}", s3_access_key="x", s3_secret_key="x")
    )
    rig.plan()
    assert rig.job(stuck).status is JobStatus.QUEUED
    assert rig.job(passing).status is JobStatus.RUNNING
    rig.planner._blobs = real
    rig.plan()
    assert rig.job(stuck).status is JobStatus.QUEUED, "it is tried again after a pause"
    rig.clock.advance(60)
    rig.plan()
    assert rig.job(stuck).status is JobStatus.RUNNING


def test_output_in_a_sub_folder_never_replaces_its_photo(rig: Rig) -> None:
    prefix = put(rig, "a/b.jpg", "a/c.gif")
    found = items(rig, rig.submit(JobInput(prefix=prefix), output_prefix=prefix, output_name="{stem}.{ext}"))
    assert [(item.input, item.error_code) for item in found] == [
        (f"{prefix}a/b.jpg", "output_is_input"),
        (f"{prefix}a/c.gif", None),
    ]
    lines = manifest(rig, {"input": prefix + "a/b.jpg"})
    [item] = items(rig, rig.submit(lines, output_prefix=prefix + "a", output_name="{stem}.{ext}"))
    assert item.error_code == "output_is_input"


def codes_of(found: list[Item]) -> dict[str, str | None]:
    """Return the error codes of items by the names of their photos."""
    return {item.input.rpartition("/")[2]: item.error_code for item in found}


@pytest.mark.parametrize("kind", ["prefix", "manifest"])
@pytest.mark.parametrize(
    ("names", "format", "good"),
    [
        (["x.bmp", "x.jpg", "x.png", "y.png"], "jpeg", "y.png"),
        (["x.jpeg", "x.jpg", "y.jpeg"], "keep", "y.jpeg"),
        (["x.tiff", "x.png", "z.tiff"], "keep", "z.tiff"),
    ],
)
def test_output_never_replaces_another_photo_of_the_job(
    rig: Rig, kind: str, names: list[str], format: str, good: str
) -> None:
    prefix = put(rig, *names)
    source = JobInput(prefix=prefix) if kind == "prefix" else manifest(rig, *({"input": prefix + n} for n in names))
    found = items(rig, rig.submit(source, output_prefix=prefix, output_name="{stem}.{ext}", output_format=format))
    assert codes_of(found) == {name: None if name == good else "output_is_input" for name in names}


@pytest.mark.parametrize("kind", ["prefix", "manifest"])
def test_output_does_not_replace_a_photo_of_a_later_or_earlier_page(rig: Rig, kind: str) -> None:
    others = [f"x_{number:03d}.jpg" for number in range(25)]
    names = ["w.jpg", "x.jpg", *others, "x_2.jpg", "z.jpg", "z_2.jpg"]
    prefix = put(rig, *names)
    # In a manifest, the photo that would be replaced may also come first.
    lines = [{"input": prefix + name} for name in ("z_2.jpg", *names[:-1])]
    source = JobInput(prefix=prefix) if kind == "prefix" else manifest(rig, *lines)
    found = items(rig, rig.submit(source, output_prefix=prefix, output_name="{stem}_2.{ext}"))
    refused = {name for name, code in codes_of(found).items() if code == "output_is_input"}
    assert refused == {"x.jpg", "z.jpg"}
    assert len(found) == len(names)


def test_output_does_not_replace_a_mask_that_the_manifest_names(rig: Rig) -> None:
    prefix = put(rig, "cat.jpg", "cat.png")
    source = manifest(rig, {"input": prefix + "cat.jpg", "mask": prefix + "cat.png"})
    [item] = items(rig, rig.submit(source, output_prefix=prefix, output_name="{stem}.{ext}", output_format="png"))
    assert item.error_code == "output_is_input"


def test_a_job_may_be_repeated_over_the_results_of_an_earlier_one(rig: Rig) -> None:
    prefix = put(rig, "x.png")
    for _ in range(2):
        job_id = rig.submit(
            JobInput(prefix=prefix), output_prefix=prefix, output_name="{stem}.{ext}", output_format="jpeg"
        )
        assert codes_of(items(rig, job_id)) == {"x.png": None}
        put(rig, "x.jpg")


def test_a_manifest_may_be_repeated_over_results_of_a_job_that_is_forgotten(rig: Rig) -> None:
    prefix = put(rig, "x.jpg", "x__wave.jpg")
    [item] = items(rig, rig.submit(manifest(rig, {"input": prefix + "x.jpg"}), output_prefix=prefix))
    assert item.error_code is None


def test_second_item_with_the_same_output_name_fails_also_on_a_later_page(rig: Rig) -> None:
    lines = [{"input": f"s3://nst/{rig.prefix}/{number}/same.jpg"} for number in (0, 1)]
    lines += [{"input": f"s3://nst/{rig.prefix}/{number}.jpg"} for number in range(20)]
    lines += [{"input": f"s3://nst/{rig.prefix}/2/same.jpg"}]
    found = items(rig, rig.submit(manifest(rig, *lines)))
    assert [item.index for item in found if item.error_code == "output_name_taken"] == [1, 22]


def test_manifests_of_two_jobs_are_planned_in_turns_and_not_mixed_up(rig: Rig) -> None:
    def lines(album: str) -> list[object]:
        return [{"input": f"s3://nst/{album}/{number}.jpg", "custom_id": f"{album}{number}"} for number in range(37)]

    first = rig.submit(manifest(rig, *lines("a")))
    rig.planner.tick()
    second = rig.submit(manifest(rig, *lines("a")))
    for job_id in (first, second):
        assert [item.custom_id for item in items(rig, job_id)] == [f"a{number}" for number in range(37)]


def test_new_planner_continues_at_the_line_where_the_last_one_died(rig: Rig) -> None:
    job_id = rig.submit(manifest(rig, *({"input": f"s3://nst/x/{number}.jpg"} for number in range(37))))
    while rig.job(job_id).status is not JobStatus.RUNNING:
        rig.__post_init__()
        rig.planner.tick()
    assert [item.input for item in items(rig, job_id)] == [f"s3://nst/x/{number}.jpg" for number in range(37)]


def test_index_in_the_template_makes_equal_names_unique(rig: Rig) -> None:
    uris = tuple(f"s3://nst/{rig.prefix}/{number}/same.jpg" for number in range(3))
    name = "{index}/{stem}-{style}.{ext}"
    found = items(rig, rig.submit(JobInput(uris=uris), output_name=name, output_format="webp"))
    assert [item.output.rpartition("jobs/")[2].partition("/")[2] for item in found] == [
        f"00000{number}/same-wave.webp" for number in range(3)
    ]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"input": JobInput(uris=("s3://elsewhere/a.jpg",))}, "/input/uris/0"),
        ({"input": JobInput(uris=("s3://nst/tenants/other/uploads/u/a.jpg",))}, "/input/uris/0"),
        ({"input": JobInput(uris=("s3://nst/x/a.jpg", "s3://nst/y/a.jpg"))}, "/input/uris/1"),
        ({"input": JobInput(prefix="s3://elsewhere/")}, "/input/prefix"),
        ({"input": JobInput(manifest="s3://elsewhere/m.jsonl")}, "/input/manifest"),
        ({"input": JobInput(manifest="s3://nst/")}, "/input/manifest"),
        ({"input": JobInput(manifest="s3://nst/a\0.jsonl")}, "/input/manifest"),
        ({"input": JobInput(prefix="s3://nst/")}, "/input/prefix"),
        ({"input": JobInput(prefix="s3://nst")}, "/input/prefix"),
        ({"input": JobInput(prefix="s3://nst/ten")}, "/input/prefix"),
        ({"input": JobInput(uris=("s3://nst/x\0/a.jpg",))}, "/input/uris/0"),
        ({"input": JobInput.model_construct(uris=("s3://nst/\ud800.jpg",))}, "/input/uris/0"),
        (
            {"output_prefix": "s3://nst/", "output_name": "tenants/other/{stem}.{ext}"},
            "/input/uris/0",
        ),
        ({"output_prefix": "s3://nst/", "output_name": "styles/{stem}.{ext}"}, "/input/uris/0"),
        (
            {
                "input": JobInput(uris=("s3://nst/p/a.jpg",)),
                "output_prefix": "s3://nst/p/",
                "output_name": "{stem}.{ext}",
            },
            "/input/uris/0",
        ),
        (
            {
                "input": JobInput(uris=("s3://nst/p/a.png", "s3://nst/p/a.jpg")),
                "output_prefix": "s3://nst/p/",
                "output_name": "{stem}.{ext}",
                "output_format": "jpeg",
            },
            "/input/uris/0",
        ),
        (
            {
                "input": JobInput(uris=("s3://nst/p/a.jpg",)),
                "mask": "s3://nst/p/a.png",
                "output_prefix": "s3://nst/p/",
                "output_name": "{stem}.{ext}",
                "output_format": "png",
            },
            "/input/uris/0",
        ),
        ({"styles": ("wave", "none")}, "/styles/1"),
        ({"styles": ("wave", "wave")}, "/styles"),
        ({"output_prefix": "s3://nst/tenants/other/"}, "/output/prefix"),
        ({"output_prefix": "s3://nst/styles/"}, "/output/prefix"),
        ({"output_prefix": "s3://nst/a/../b/"}, "/output/prefix"),
        ({"output_name": "{stem.__class__}.{ext}"}, "/output/name"),
        ({"output_name": "{secret}.{ext}"}, "/output/name"),
        ({"output_name": "../{stem}.{ext}"}, "/output/name"),
        ({"output_name": "/{stem}.{ext}"}, "/output/name"),
        ({"output_name": "{stem}"}, "/output/name"),
    ],
)
def test_request_that_cannot_be_done_is_refused_with_a_pointer(
    rig: Rig, changes: dict[str, object], pointer: str
) -> None:
    with pytest.raises(RequestInvalidError) as caught:
        rig.service.submit(TENANT, rig.request(**({"input": 1} | changes)))  # type: ignore[arg-type]
    assert caught.value.pointer == pointer


def test_page_that_two_schedulers_plan_is_planned_once(rig: Rig) -> None:
    job_id = rig.submit(30)
    with rig.database.read() as connection:
        job = job_rows.find_job(connection, job_id, inputs=True)
    assert job is not None
    page = rig.planner._read_page(job, 8)
    for _ in range(3):
        rig.planner._write_page(job, page)
    assert len(items(rig, job_id)) == 30
