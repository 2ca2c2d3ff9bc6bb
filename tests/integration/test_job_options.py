"""What a job wants of its pictures, over HTTP: precision, looks, strokes, masks, regions and faces."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from nst_core.client.resources.jobs import STROKES
from nst_core.inference import strokes
from nst_core.storage.blobs import BlobUri
from scheduler.store import styles
from scheduler.store.styles import StyleRow
from tests.integration.conftest import Rig, finished, started
from tests.integration.job_kit import body, dispatch, end_with_images, failing, region, submit


def put_style(rig: Rig, name: str, card: dict[str, Any], version: str | None = None) -> None:
    """Give a style a card, and perhaps another version."""
    row = StyleRow(name=name, version=version or name * 4, weights=f"s3://nst/styles/{name}", card=card)
    with rig.database.write() as connection:
        styles.put_style(connection, row, now=rig.clock())


def test_job_shows_its_settings(client: TestClient, rig: Rig) -> None:
    wanted: dict[str, Any] = {
        "priority": "high",
        "deadline": datetime.fromtimestamp(rig.clock() + 60, UTC).isoformat().replace("+00:00", "Z"),
        "max_failures": 3,
        "max_attempts": 7,
        "precision": "exact",
        "look": "gallery",
        "stroke": "auto",
        "forms": "planes",
        "faces": "protect",
        "mask": f"s3://nst/{rig.prefix}/mask.png",
    }
    job = client.get(f"/v1/jobs/{submit(client, rig, **wanted)}").json()
    assert {name: job[name] for name in wanted} == wanted
    assert (job["stop"], job["client_id"]) == (None, None)
    plain = client.get(f"/v1/jobs/{submit(client, rig)}").json()
    assert (plain["precision"], plain["stroke"], plain["mask"], plain["faces"]) == ("auto", None, None, "paint")
    assert plain["look"] is plain["forms"] is None


def test_workers_are_told_the_precision_of_a_job(client: TestClient, rig: Rig) -> None:
    exact, auto = submit(client, rig, precision="exact"), submit(client, rig)
    assert {chunk.job_id: chunk.options.precision for chunk in dispatch(rig)} == {exact: "exact", auto: "auto"}


def test_workers_are_told_the_forms_of_a_job(client: TestClient, rig: Rig) -> None:
    jobs = {submit(client, rig, forms=forms): forms for forms in ("planes", "none", None)}
    assert {chunk.job_id: chunk.options.forms for chunk in dispatch(rig)} == jobs


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"look": "gallery"}, {"great_wave": ("varied", None), "udnie": (None, "planes"), "the_scream": (None, None)}),
        (
            {"look": "gallery", "stroke": 2},
            {"great_wave": (2, None), "udnie": (2, "planes"), "the_scream": (2, None)},
        ),
        (
            {"look": "gallery", "forms": "none"},
            {"great_wave": ("varied", "none"), "udnie": (None, "none"), "the_scream": (None, "none")},
        ),
        ({}, dict.fromkeys(("great_wave", "udnie", "the_scream"), (None, None))),
    ],
    ids=["gallery", "strokes of the job", "forms of the job", "none"],
)
def test_each_style_has_the_look_of_its_card_when_the_job_was_submitted(
    client: TestClient, rig: Rig, options: dict[str, Any], told: dict[str, Any]
) -> None:
    put_style(rig, "great_wave", {"look": {"stroke": "varied"}})
    put_style(rig, "udnie", {"look": {"forms": "planes"}})
    put_style(rig, "the_scream", {})
    submit(client, rig, styles=list(told), **options)
    for name in told:
        put_style(rig, name, {"look": {"stroke": 4}})
    assert {chunk.style.name: (chunk.options.stroke, chunk.options.forms) for chunk in dispatch(rig)} == told


def test_results_say_in_which_strokes_and_forms_they_are(client: TestClient, rig: Rig) -> None:
    look = {"stroke": "varied", "forms": "planes", "faces": "protect"}
    put_style(rig, "great_wave", {"look": look})
    gallery, plain = (submit(client, rig, styles=["great_wave"], look=look) for look in ("gallery", None))
    end_with_images(rig)
    [line] = client.get(f"/v1/jobs/{gallery}/results").text.splitlines()
    assert json.loads(line).items() >= look.items()
    [line] = client.get(f"/v1/jobs/{plain}/results").text.splitlines()
    assert not json.loads(line).keys() & {"stroke", "forms", "faces", "look"}


def test_a_look_is_that_of_the_version_that_a_request_names(client: TestClient, rig: Rig) -> None:
    for digits, stroke in (("ab", 2), ("cd", 3)):
        put_style(rig, "wave", {"look": {"stroke": stroke}}, version=digits * 32)
    jobs = {
        submit(client, rig, styles=[f"wave@{digits * 4}"], look="gallery"): stroke
        for digits, stroke in (("ab", 2), ("cd", 3))
    }
    assert {chunk.job_id: chunk.options.stroke for chunk in dispatch(rig)} == jobs


def test_regions_have_the_look_of_the_style_around_them(client: TestClient, rig: Rig) -> None:
    put_style(rig, "wave", {"look": {"stroke": "varied"}})
    put_style(rig, "udnie", {"look": {"stroke": 2, "forms": "planes"}})
    submit(client, rig, styles=["wave"], regions=[region(rig)], look="gallery")
    [chunk] = dispatch(rig)
    assert (chunk.options.stroke, chunk.options.forms) == ("varied", None)


def test_a_stored_card_with_a_wrong_look_stops_no_job_but_those_that_want_it(client: TestClient, rig: Rig) -> None:
    put_style(rig, "wave", {"look": "soft"})
    answer = client.post("/v1/jobs", json=body(rig, styles=["udnie", "wave"], look="gallery"))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/styles/1")
    assert client.post("/v1/jobs", json=body(rig, styles=["udnie", "wave"])).status_code == 202


def test_a_blend_has_the_look_of_its_largest_style(client: TestClient, rig: Rig) -> None:
    put_style(rig, "great_wave", {"look": {"stroke": "varied"}})
    put_style(rig, "udnie", {"look": {"forms": "planes"}})
    jobs = {
        submit(client, rig, styles=[f"great_wave:{wave},udnie:{udnie}"], look="gallery"): look
        for wave, udnie, look in ((3, 2, ("varied", None)), (2, 3, (None, "planes")))
    }
    assert {chunk.job_id: (chunk.options.stroke, chunk.options.forms) for chunk in dispatch(rig)} == jobs


def test_workers_are_told_how_much_results_are_enlarged(client: TestClient, rig: Rig) -> None:
    jobs = {submit(client, rig, upscale=upscale): upscale for upscale in (1, 2, 4)}
    assert {chunk.job_id: chunk.options.upscale for chunk in dispatch(rig)} == jobs
    assert {job_id: client.get(f"/v1/jobs/{job_id}").json()["upscale"] for job_id in jobs} == jobs


def test_workers_are_told_the_strokes_of_a_job(client: TestClient, rig: Rig) -> None:
    jobs = {submit(client, rig, stroke=stroke): stroke for stroke in (None, 0.5, 2, 4.0, "auto", "fine", "varied")}
    assert {chunk.job_id: chunk.options.stroke for chunk in dispatch(rig)} == jobs
    assert {job_id: client.get(f"/v1/jobs/{job_id}").json()["stroke"] for job_id in jobs} == jobs


def test_workers_are_told_the_masks_of_a_job_and_of_its_photos(client: TestClient, rig: Rig) -> None:
    photos, mask = [f"s3://nst/{rig.prefix}/{name}.jpg" for name in "ab"], f"s3://nst/{rig.prefix}/mask.png"
    lines = [{"input": photos[0]}, {"input": photos[1], "mask": f"s3://nst/{rig.prefix}/own.png"}]
    rig.blobs.put(BlobUri("nst", f"{rig.prefix}/m.jsonl"), "\n".join(map(json.dumps, lines)).encode())
    job_id = submit(client, rig, input={"manifest": f"s3://nst/{rig.prefix}/m.jsonl"}, mask=mask)
    [chunk] = dispatch(rig)
    assert chunk.options.mask == mask
    assert [item.mask for item in chunk.items] == [None, lines[1]["mask"]]
    shown = client.get(f"/v1/jobs/{job_id}/items").json()["data"]
    assert [item["mask"] for item in shown] == [None, lines[1]["mask"]]


def test_workers_are_told_what_becomes_of_faces(client: TestClient, rig: Rig) -> None:
    jobs = {submit(client, rig, faces=faces): faces or "paint" for faces in ("paint", "fine", "protect", None)}
    assert {chunk.job_id: chunk.options.faces for chunk in dispatch(rig)} == jobs


def test_another_mask_is_another_request(client: TestClient, rig: Rig) -> None:
    request = body(rig) | {"mask": f"s3://nst/{rig.prefix}/mask.png"}
    key = {"Idempotency-Key": "spring"}
    first = client.post("/v1/jobs", json=request, headers=key)
    assert client.post("/v1/jobs", json=request, headers=key).json()["id"] == first.json()["id"]
    other = client.post("/v1/jobs", json=body(rig), headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


def test_a_job_has_the_versions_of_the_styles_of_its_regions(client: TestClient, rig: Rig) -> None:
    job_id = submit(client, rig, 2, regions=[region(rig), region(rig, mask="tree")])
    shown = client.get(f"/v1/jobs/{job_id}").json()["regions"]
    style = {"name": "udnie", "version": "udnie" * 4, "parts": []}
    masks = [f"s3://nst/{rig.prefix}/{name}.png" for name in ("sky", "tree")]
    assert shown == [{"style": style, "mask": mask} for mask in masks]
    [chunk] = dispatch(rig)
    assert [(each.style.version, each.mask) for each in chunk.options.regions] == [
        ("udnie" * 4, mask) for mask in masks
    ]
    assert client.get(f"/v1/jobs/{submit(client, rig)}").json()["regions"] == []


def test_photos_have_masks_of_their_own_for_regions_and_reports_say_which(client: TestClient, rig: Rig) -> None:
    photos = [f"s3://nst/{rig.prefix}/{name}.jpg" for name in "abcd"]
    own = f"s3://nst/{rig.prefix}/own.png"
    lines: list[dict[str, Any]] = [
        {"input": photos[0]},
        {"input": photos[1], "regions": [own]},
        {"input": photos[2], "regions": [None, own]},
        {"input": photos[3], "regions": [None, None, own]},
    ]
    rig.blobs.put(BlobUri("nst", f"{rig.prefix}/m.jsonl"), "\n".join(map(json.dumps, lines)).encode())
    source = {"manifest": f"s3://nst/{rig.prefix}/m.jsonl"}
    job_id = submit(client, rig, input=source, regions=[region(rig), region(rig, mask=None)])
    [chunk] = dispatch(rig)
    assert [item.regions for item in chunk.items] == [(), (own,), (None, own)]
    shown = client.get(f"/v1/jobs/{job_id}/items").json()["data"]
    assert [item["regions"] for item in shown] == [[], [own], [None, own], [None, None, own]]
    assert shown[3]["error"]["code"] == "input_invalid"
    assert shown[3]["error"]["message"] == "The line has more masks of regions than the job has regions: 3 and 2."
    rig.report(started(chunk), finished(chunk))
    rig.finalizer.tick()
    results = [json.loads(line) for line in client.get(f"/v1/jobs/{job_id}/results").content.splitlines()]
    sky = f"s3://nst/{rig.prefix}/sky.png"
    made = {"style": "udnie", "style_version": "udnie" * 4}
    assert [line["regions"] for line in results] == [
        [made | {"mask": first}, made | {"mask": second}] for first, second in ((sky, None), (own, None), (sky, own))
    ]


def test_a_retried_photo_keeps_its_masks(client: TestClient, rig: Rig) -> None:
    own = f"s3://nst/{rig.prefix}/own.png"
    line = {"input": f"s3://nst/{rig.prefix}/a.jpg", "regions": [own]}
    rig.blobs.put(BlobUri("nst", f"{rig.prefix}/m.jsonl"), json.dumps(line).encode())
    source = {"manifest": f"s3://nst/{rig.prefix}/m.jsonl"}
    job_id = submit(client, rig, input=source, regions=[region(rig)])
    [chunk] = dispatch(rig)
    rig.report(started(chunk), finished(chunk, failing(0)))
    rig.finalizer.tick()
    assert client.post(f"/v1/jobs/{job_id}/retry").status_code == 202
    [again] = dispatch(rig)
    assert (again.items[0].regions, again.options.regions) == ((own,), chunk.options.regions)


def test_other_regions_are_another_request(client: TestClient, rig: Rig) -> None:
    key = {"Idempotency-Key": "spring"}
    request = body(rig) | {"regions": [region(rig), region(rig, mask="tree")]}
    first = client.post("/v1/jobs", json=request, headers=key)
    assert client.post("/v1/jobs", json=request, headers=key).json()["id"] == first.json()["id"]
    assert client.put("/v1/jobs/spring", json=request).status_code == 202
    others: list[list[dict[str, Any]]] = [
        [],
        [region(rig)],
        [region(rig, mask="tree"), region(rig)],
        [region(rig, "wave"), region(rig, mask="tree")],
    ]
    for regions in others:
        other = client.post("/v1/jobs", json=body(rig) | {"regions": regions}, headers=key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        answer = client.put("/v1/jobs/spring", json=body(rig) | {"regions": regions})
        assert (answer.status_code, answer.json()["code"]) == (409, "job_exists")


@pytest.mark.parametrize(
    ("regions", "pointer", "message"),
    [
        ([{"style": "nowhere", "mask": "s3://nst/m.png"}], "/regions/0/style", "There is no style 'nowhere'."),
        ([{"style": "udnie:1", "mask": "s3://nst/m.png"}], "/regions/0/style", "A style is given as NAME"),
        ([{"style": "wave:1,wave:2", "mask": "s3://nst/m.png"}], "/regions/0/style", "names each style once"),
        ([{"style": "udnie"}], "/regions/0/mask", "Give the region a mask"),
        ([{"style": "udnie", "mask": "sky.png"}], "/regions/0/mask", "An address begins with s3://."),
        ([{"style": "udnie", "mask": "s3://other/m.png"}], "/regions/0/mask", "other"),
        ([{"style": "udnie", "mask": "s3://nst/tenants/b/m.png"}], "/regions/0/mask", "tenants/b"),
        ([{"mask": "s3://nst/m.png"}], "/regions/0/style", "The field is missing."),
        ([{"style": "udnie", "mask": "s3://nst/m.png", "strength": 1}], "/regions/0/strength", "no such field"),
        ([{"style": "udnie", "mask": "s3://nst/m.png"}] * 9, "/regions", "At most 8 entries are allowed."),
    ],
)
def test_a_wrong_region_is_refused(
    client: TestClient, rig: Rig, regions: list[dict[str, Any]], pointer: str, message: str
) -> None:
    answer = client.post("/v1/jobs", json=body(rig) | {"regions": regions})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert message in error["detail"]


@pytest.mark.parametrize("stroke", [0, 0.49, 4.01, -2, 1e300, True, "2", "broad", "AUTO", "", [], {}])
def test_a_wrong_stroke_is_one_error_that_says_what_is_allowed(client: TestClient, rig: Rig, stroke: object) -> None:
    answer = client.post("/v1/jobs", json=body(rig) | {"stroke": stroke})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    [error] = answer.json()["errors"]
    assert error["pointer"] == "/stroke"
    assert "a stroke is a number from 0.5 to 4, auto, fine or varied" in error["detail"].lower()


def test_the_document_says_what_a_stroke_is(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]["JobRequest"]["properties"]["stroke"]
    kinds = {each["type"]: each for each in schema["anyOf"]}
    assert (kinds["number"]["minimum"], kinds["number"]["maximum"]) == STROKES
    assert kinds["string"]["enum"] == ["auto", "fine", "varied"]
    assert STROKES == (strokes.SMALLEST, strokes.LARGEST), "workers have the same limits"


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"priority": "urgent"}, "/priority"),
        ({"upscale": 3}, "/upscale"),
        ({"upscale": "2"}, "/upscale"),
        ({"upscale": 2.5}, "/upscale"),
        ({"upscale": None}, "/upscale"),
        ({"deadline": "2020-01-01T00:00:00Z"}, "/deadline"),
        ({"deadline": "2999-01-01T00:00:00"}, "/deadline"),
        ({"deadline": "9999-12-31T23:59:59-14:00"}, "/deadline"),
        ({"deadline": "9999-12-31T23:59:59.999999Z"}, "/deadline"),
        ({"deadline": "0001-01-01T00:00:00+14:00"}, "/deadline"),
        ({"expires_after_s": 0}, "/expires_after_s"),
        ({"expires_after_s": 1e300}, "/expires_after_s"),
        ({"max_failures": -1}, "/max_failures"),
        ({"metadata": {"a": "\0"}}, "/metadata/a"),
        ({"max_attempts": 11}, "/max_attempts"),
        ({"precision": "fp32"}, "/precision"),
        ({"deadline": "2999-01-01T00:00:00Z", "expires_after_s": 5}, ""),
    ],
)
def test_wrong_field_of_a_job_is_named(client: TestClient, rig: Rig, changes: dict[str, object], pointer: str) -> None:
    content = json.dumps(body(rig) | changes)
    answer = client.post("/v1/jobs", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
