"""Commands that submit jobs: nst stylize and nst optimize, against prepared answers."""

import hashlib
import json
import os
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scheduler.cli.exits import ExitCode
from scheduler.cli.transfer.photos import Photo
from scheduler.cli.transfer.uploads import Hashed, upload_id_of
from tests.photos import small_photos
from tests.unit.scheduler.canned_api import Answer, CannedApi, item_json, job_json, problem, tenant_json
from tests.unit.scheduler.conftest import STYLE, Run

PRESET = {
    "name": "gatys2016",
    "summary": "content + gram; L-BFGS, 500 iterations, 512 px",
    "config": {"iterations": 500, "size_px": 512, "color": "style"},
}


def upload_id(**files: bytes) -> str:
    """Return the id of the upload of some files."""

    def hashed(name: str, data: bytes) -> Hashed:
        photo = Photo(path=Path(name), name=name, bytes=len(data), identity=(0, 0))
        return Hashed(photo=photo, sha256=hashlib.sha256(data).hexdigest())

    return upload_id_of([hashed(name, data) for name, data in files.items()])


def test_stylize_tells_what_it_would_do(api: CannedApi, here: Run) -> None:
    check = {"valid": True, "photos": 3, "items": 3, "failing": 1, "estimated_s": 90.0}
    api.on("POST", "/v1/jobs?validate=true", Answer(body=check))
    code, out, _ = here("stylize", "s3://nst/in/", "-s", "great_wave", "-o", "s3://nst/out/", "--dry-run")
    assert code == ExitCode.OK
    assert "3 photos, 2 images, 1 would fail at once, about 1:30" in out


def test_a_dry_run_of_photos_of_this_machine_reads_them_and_uploads_none(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    for name, data in zip(("a.png", "sub/a.png"), small_photos(2).values(), strict=True):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    api.on("GET", "/v1/tenant", Answer(body=tenant_json(max_items_per_job=3)))
    api.on("POST", "/v1/uploads", Answer(status=201, body={"id": "upl_1", "prefix": "s3://nst/up/"}))
    api.on("DELETE", "/v1/uploads/upl_1", Answer(status=204, body=b""))
    good = {"valid": True, "photos": 1, "items": 1, "failing": 0, "problems": [], "estimated_s": 90.0}
    problem = {"code": "output_name_taken", "message": "Taken.", "input": "s3://nst/up/sub/a.png"}
    api.on(
        "POST",
        "/v1/jobs?validate=true&objects=false",
        Answer(body=good),
        Answer(body=good | {"failing": 1, "problems": [problem]}),
    )
    code, out, _ = here("stylize", str(tmp_path), "-s", "great_wave", "-o", "out", "--dry-run", "--json")
    found = json.loads(out)
    assert (code, found["valid"], found["photos"], found["failing"]) == (ExitCode.OK, True, 3, 2)
    assert [(each["code"], each["input"]) for each in found["problems"]] == [
        ("output_name_taken", str(tmp_path / "sub/a.png")),
        ("image_undecodable", str(tmp_path / "half.png")),
    ]
    # Images keep the folders of what is uploaded, and so two photos of one name are asked for one after the other.
    asked = [json.loads(request.body)["input"] for request in api.requests if request.path.startswith("/v1/jobs")]
    assert asked == [{"uris": ["s3://nst/up/a.png"]}, {"uris": ["s3://nst/up/sub/a.png"]}]
    assert not any(request.method == "PUT" for request in api.requests)
    # The place whose addresses were asked about is not left behind.
    assert [request.path for request in api.requests if request.method == "DELETE"] == ["/v1/uploads/upl_1"]


def test_a_dry_run_knows_how_many_images_a_job_may_have(api: CannedApi, here: Run, tmp_path: Path) -> None:
    for name, data in small_photos(3).items():
        (tmp_path / name).write_bytes(data)
    api.on("POST", "/v1/uploads", Answer(status=201, body={"id": "upl_1", "prefix": "s3://nst/up/"}))
    api.on("DELETE", "/v1/uploads/upl_1", Answer(status=204, body=b""))
    check = {"valid": True, "photos": 3, "items": 3, "failing": 0, "problems": [], "estimated_s": 90.0}
    api.on("POST", "/v1/jobs?validate=true&objects=false", Answer(body=check))
    limits = {2: ExitCode.FAILED, 3: ExitCode.OK, None: ExitCode.OK}
    api.on(
        "GET", "/v1/tenant", *(Answer(body=tenant_json(max_items_per_job=most)) for most in limits for _ in range(2))
    )
    for most, expected in limits.items():
        code, out, _ = here("stylize", str(tmp_path), "-s", "great_wave", "-o", "out", "--dry-run")
        assert (code, "A job has at most 2 images. (quota_exceeded)" in out) == (expected, most == 2)


def test_a_dry_run_of_more_photos_than_a_request_may_name_asks_several_times(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    [photo] = small_photos(1, side_px=16).values()
    for number in range(1001):
        (tmp_path / f"{number:04}.png").write_bytes(photo)
    api.on("GET", "/v1/tenant", Answer(body=tenant_json()))
    api.on("POST", "/v1/uploads", Answer(status=201, body={"id": "upl_1", "prefix": "s3://nst/up/"}))
    api.on("DELETE", "/v1/uploads/upl_1", Answer(status=204, body=b""))
    whole = {"valid": True, "photos": 1000, "items": 1000, "failing": 0, "estimated_s": 100.0}
    rest = {"valid": True, "photos": 1, "items": 1, "failing": 0, "estimated_s": 0.5}
    refused = {"valid": False, "photos": 0, "items": 0, "failing": 0, "problems": [{"code": "x", "message": "No."}]}
    api.on(
        "POST", "/v1/jobs?validate=true&objects=false", *(Answer(body=body) for body in (whole, rest, whole, refused))
    )
    arguments = ("stylize", str(tmp_path), "-s", "great_wave", "-o", "out", "--dry-run")
    code, out, _ = here(*arguments)
    assert (code, "1,001 photos, 1,001 images, about 1:4" in out) == (ExitCode.OK, True)
    code, out, _ = here(*arguments)
    assert (code, "No. (x)" in out) == (ExitCode.FAILED, True)


def test_a_dry_run_says_for_how_many_photos_it_has_looked(api: CannedApi, here: Run) -> None:
    check = {"valid": True, "photos": 2000, "items": 2000, "failing": 0}
    api.on(
        "POST", "/v1/jobs?validate=true", *(Answer(body=check | {"objects_checked": found}) for found in (100, 2000))
    )
    command = ("stylize", "s3://nst/m.jsonl", "-s", "great_wave", "-o", "s3://nst/out/", "--dry-run")
    assert "100 of 2,000 photos were looked up in the storage" in here(*command)[1]
    assert "looked up" not in here(*command)[1]


@pytest.mark.parametrize(
    ("size", "options", "code"),
    [
        ((4000, 30), (), None),
        ((4000, 30), ("--max-px", "2000"), "image_too_small"),
        ((400, 30), ("--max-px", "100"), "image_too_small"),
        ((4000, 12), (), "image_too_small"),
        ((8000, 6251), (), "image_too_large"),
    ],
)
def test_a_dry_run_measures_photos_of_this_machine_by_the_size_of_their_results(
    api: CannedApi, here: Run, tmp_path: Path, size: tuple[int, int], options: tuple[str, ...], code: str | None
) -> None:
    Image.new("1", size).save(tmp_path / "a.png")
    api.on("GET", "/v1/tenant", Answer(body=tenant_json()))
    api.on("POST", "/v1/uploads", Answer(status=201, body={"id": "upl_1", "prefix": "s3://nst/up/"}))
    api.on("DELETE", "/v1/uploads/upl_1", Answer(status=204, body=b""))
    check = {"valid": True, "photos": 1, "items": 1, "failing": 0}
    api.on("POST", "/v1/jobs?validate=true&objects=false", Answer(body=check))
    _, out, _ = here("stylize", str(tmp_path), "-s", "great_wave", "-o", "out", "--dry-run", "--json", *options)
    assert [each["code"] for each in json.loads(out)["problems"]] == ([] if code is None else [code])


def test_stylize_takes_an_id_and_limits(api: CannedApi, here: Run) -> None:
    api.on("PUT", "/v1/jobs/spring", Answer(status=202, body=job_json("queued")))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", succeeded=4)))
    options = ("--id", "spring", "--expires-after", "2h", "--priority", "low", "--label", "album=spring")
    code, _, _ = here("stylize", "s3://nst/in/", "-s", "great_wave", "-o", "s3://nst/out/", *options)
    assert code == ExitCode.OK
    body = next(json.loads(request.body) for request in api.requests if request.method == "PUT")
    assert (body["expires_after_s"], body["priority"], body["metadata"]) == (7200, "low", {"album": "spring"})


def test_the_same_command_with_an_id_again_uploads_nothing(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(b"photo")
    prefix = f"s3://nst/uploads/{upload_id(**{'0.jpg': b'photo'})}/"
    first = job_json("running", client_id="spring", input={"prefix": prefix})
    api.on("GET", "/v1/jobs/spring", Answer(body=first))
    api.on("PUT", "/v1/jobs/spring", Answer(body=first))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded")))
    command = ("stylize", str(tmp_path), "-s", "great_wave", "-o", "s3://nst/out/", "--id", "spring")
    code, _, err = here(*command)
    assert (code, "nothing is uploaded" in err) == (ExitCode.OK, True)
    [put] = [request for request in api.requests if request.method in ("PUT", "POST")]
    assert (put.path, json.loads(put.body)["input"]) == ("/v1/jobs/spring", {"prefix": prefix})


@pytest.mark.parametrize("changed", ["other content", "other name", "one more"])
def test_an_id_of_a_job_with_other_photos_is_refused_before_the_upload(
    api: CannedApi, here: Run, tmp_path: Path, changed: str
) -> None:
    (tmp_path / ("1.jpg" if changed == "other name" else "0.jpg")).write_bytes(
        b"other" if changed == "other content" else b"photo"
    )
    if changed == "one more":
        (tmp_path / "2.jpg").write_bytes(b"another")
    prefix = f"s3://nst/uploads/{upload_id(**{'0.jpg': b'photo'})}/"
    api.on("GET", "/v1/jobs/spring", Answer(body=job_json("succeeded", client_id="spring", input={"prefix": prefix})))
    code, _, err = here("stylize", str(tmp_path), "-s", "great_wave", "-o", "s3://nst/out/", "--id", "spring")
    assert (code, "(job_exists)" in err) == (ExitCode.REFUSED, True)
    assert {request.method for request in api.requests} == {"GET"}


def test_stylize_takes_a_manifest_and_all_that_a_job_may_say(api: CannedApi, here: Run) -> None:
    api.on("POST", "/v1/jobs", Answer(status=202, body=job_json("queued")))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", succeeded=4)))
    limits = ("--deadline", "2030-01-02T03:04:05", "--max-failures", "0", "--max-attempts", "2")
    code, _, _ = here(
        "stylize", "s3://nst/photos.jsonl", "-s", "great_wave", "-o", "s3://nst/out/", "--name", "{stem}.{ext}", *limits
    )
    body = submitted(api)
    assert (code, body["input"]) == (ExitCode.OK, {"manifest": "s3://nst/photos.jsonl"})
    assert (body["max_failures"], body["max_attempts"], body["output"]["name"]) == (0, 2, "{stem}.{ext}")
    assert datetime.fromisoformat(body["deadline"]) == datetime(2030, 1, 2, 3, 4, 5).astimezone()


def test_optimize_takes_limits_and_labels_too(api: CannedApi, here: Run) -> None:
    prepare_optimize(api)
    options = ("--label", "album=spring", "--expires-after", "2h", "--max-failures", "3", "--max-attempts", "2")
    code, _, _ = here("optimize", "s3://nst/a.jpg", "s3://nst/night.png", "-o", "s3://nst/out/", *options)
    body = submitted(api)
    assert (code, body["metadata"], body["expires_after_s"]) == (ExitCode.OK, {"album": "spring"}, 7200)
    assert (body["max_failures"], body["max_attempts"]) == (3, 2)


def prepare_stylize(api: CannedApi, job: Any) -> None:
    api.on("POST", "/v1/jobs", Answer(status=202, body=job_json("queued", total=0)))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job))
    api.on("GET", "/v1/jobs/job_1/items?limit=200", Answer(body={"data": [item_json(0), item_json(1, "failed")]}))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=succeeded", Answer(body={"data": [item_json(0)]}))
    api.on("GET", "/v1/jobs/job_1/items?limit=10&status=failed", Answer(body={"data": [item_json(1, "failed")]}))
    api.on("GET", "/v1/jobs/job_1/items/0/output", Answer(body=b"picture"))


def submitted(api: CannedApi) -> Any:
    return next(json.loads(r.body) for r in api.requests if (r.method, r.path) == ("POST", "/v1/jobs"))


def test_stylize_uploads_submits_and_downloads(api: CannedApi, here: Run, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "sub").mkdir(parents=True)
    (photos / "0.jpg").write_bytes(b"photo 0")
    (photos / "sub/1.jpg").write_bytes(b"photo 1")
    prepare_stylize(api, job_json("partially_succeeded", total=2, succeeded=1, failed=1))
    code, stdout, err = here(
        "stylize", str(photos), "-s", "great_wave", "-o", str(out), "--json", "--strength", "0.5", "--max-px", "800"
    )
    assert code == ExitCode.PARTIAL
    assert api.files == {"up1/0.jpg": b"photo 0", "up1/sub/1.jpg": b"photo 1"}
    request = submitted(api)
    assert request["input"] == {"prefix": "s3://nst/up1/"}
    assert (request["strength"], request["output"]["max_px"], request["output"]["prefix"]) == (0.5, 800, None)
    images = json.loads(stdout)["images"]
    assert [image["file"] for image in images] == [str(out / "sub/0__great_wave.jpg"), None]
    assert (out / "sub/0__great_wave.jpg").read_bytes() == b"picture"
    assert "1 of 2 images" in err


def test_stylize_into_storage_downloads_nothing(api: CannedApi, here: Run) -> None:
    prepare_stylize(api, job_json("succeeded", total=1, succeeded=1))
    code, _, err = here("stylize", "s3://nst/in", "-s", "great_wave", "-o", "s3://nst/out/")
    assert code == ExitCode.OK
    assert submitted(api)["input"] == {"prefix": "s3://nst/in/"}
    assert submitted(api)["output"]["prefix"] == "s3://nst/out/"
    assert "→ s3://nst/out/" in err
    assert not [request for request in api.requests if request.path.endswith("/output")]


def test_stylize_takes_objects_by_their_addresses(api: CannedApi, here: Run) -> None:
    prepare_stylize(api, job_json("succeeded", total=2, succeeded=2))
    here("stylize", "s3://nst/a.jpg", "s3://nst/b.png", "-s", "great_wave", "-o", "s3://nst/out/")
    assert submitted(api)["input"] == {"uris": ["s3://nst/a.jpg", "s3://nst/b.png"]}


@pytest.mark.parametrize("inputs", [["s3://nst/in/", "photo.jpg"], ["s3://nst/a/", "s3://nst/b/"]])
def test_stylize_refuses_inputs_that_one_job_cannot_take(here: Run, inputs: list[str]) -> None:
    assert here("stylize", *inputs, "-s", "great_wave", "-o", "out")[0] == ExitCode.USAGE


def test_stylize_takes_a_version_of_a_style(api: CannedApi, here: Run) -> None:
    prepare_stylize(api, job_json("succeeded", total=2, succeeded=2))
    api.on("GET", "/v1/styles/great_wave?version=abababab", Answer(body=STYLE))
    code, *_ = here("stylize", "s3://nst/a.jpg", "-s", "great_wave@abababab", "-o", "s3://nst/out/")
    assert code == ExitCode.OK
    assert submitted(api)["styles"] == ["great_wave@abababab"]


def test_stylize_tells_a_wrong_style_before_it_uploads(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").touch()
    api.on("GET", "/v1/styles/van_gogh", problem(404, "not_found", "There is no style 'van_gogh'."))
    code, _, err = here("stylize", str(tmp_path), "-s", "van_gogh", "-o", str(tmp_path / "out"))
    assert code == ExitCode.REFUSED
    assert "There is no style 'van_gogh'." in err
    assert not [request for request in api.requests if request.method != "GET"]


def prepare_optimize(api: CannedApi, suffix: str = "jpg") -> None:
    """Let one photo be optimised: two looks at it while it runs, then its end."""

    def running(iteration: int) -> Any:
        progress = {"iteration": iteration, "iterations": 50, "losses": {"style": 2.0, "content": 0.5}, "preview": True}
        return Answer(body={"data": [item_json(0, "running", style="night", progress=progress)]})

    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    styles = [{"name": "night", "version": "cd" * 32}]
    optimize = {"preset": "gatys2016", "config": PRESET["config"], "preview_every": 25}
    like: Any = {"method": "optimize", "styles": styles, "paintings": ["s3://nst/up/night.png"], "optimize": optimize}
    counts = {"total": 1, "running": 1, "succeeded": 0, "failed": 0, "cancelled": 0, "pending": 0}
    jobs = [job_json("running", **like, counts=counts)] * 2 + [job_json("succeeded", total=1, succeeded=1, **like)]
    api.on("POST", "/v1/jobs", Answer(status=202, body=job_json("queued", total=0, **like)))
    api.on("GET", "/v1/jobs/job_1", *(Answer(body=job) for job in jobs))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=running", running(10), running(23), Answer(body={"data": []}))
    done = item_json(0, style="night", output=f"s3://nst/out/0__night.{suffix}")
    api.on("GET", "/v1/jobs/job_1/items?limit=200", Answer(body={"data": [done]}))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=succeeded", Answer(body={"data": [done]}))
    api.on("GET", "/v1/jobs/job_1/items/0/output", Answer(body=b"picture"))


def test_optimize_uploads_both_pictures_submits_and_shows_the_iterations(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    (tmp_path / "0.jpg").write_bytes(b"photo")
    (tmp_path / "night.png").write_bytes(b"painting")
    prepare_optimize(api)
    options = [
        "--size",
        "300",
        "--iterations",
        "50",
        "--color",
        "luminance",
        "--set",
        "seed=3",
        "--set",
        "network=vgg19",
    ]
    code, out, err = here(
        "optimize",
        str(tmp_path / "0.jpg"),
        str(tmp_path / "night.png"),
        "-o",
        str(tmp_path / "out"),
        "--json",
        *options,
    )
    assert code == ExitCode.OK, err
    assert api.files == {"up1/0.jpg": b"photo", "up2/night.png": b"painting"}
    request = submitted(api)
    assert (request["method"], request["paintings"]) == ("optimize", ["s3://nst/up2/night.png"])
    assert request["styles"] == []
    assert request["optimize"] == {
        "preset": "gatys2016",
        "options": {"size_px": 300, "iterations": 50, "color": "luminance", "seed": 3, "network": "vgg19"},
        "preview_every": 25,
    }
    assert "job_1 0.jpg: iteration 10 of 50, loss 2.5" in err
    assert "job_1 0.jpg: iteration 23 of 50, loss 2.5" in err
    [image] = json.loads(out)["images"]
    assert Path(image["file"]).read_bytes() == b"picture"


def test_optimize_writes_one_photo_to_a_file_in_its_format(api: CannedApi, here: Run, tmp_path: Path) -> None:
    prepare_optimize(api, "webp")
    target = tmp_path / "new" / "result.webp"
    arguments = ["s3://nst/in/0.jpg", "-s", "s3://nst/up/night.png", "-o", str(target)]
    assert here("optimize", *arguments)[0] == ExitCode.OK
    request = submitted(api)
    assert request["input"] == {"uris": ["s3://nst/in/0.jpg"]}
    assert request["paintings"] == ["s3://nst/up/night.png"]
    assert request["output"]["format"] == "webp"
    assert [path.name for path in target.parent.iterdir()] == ["result.webp"]
    assert target.read_bytes() == b"picture"


def test_optimize_takes_an_id_and_a_priority(api: CannedApi, here: Run, tmp_path: Path) -> None:
    prepare_optimize(api)
    api.on("PUT", "/v1/jobs/portrait", Answer(status=202, body=job_json("queued")))
    arguments = ["s3://nst/in/0.jpg", "s3://nst/up/night.png", "-o", str(tmp_path / "out"), "--id", "portrait"]
    assert here("optimize", *arguments, "--priority", "high")[0] == ExitCode.OK
    body = next(json.loads(request.body) for request in api.requests if request.method == "PUT")
    assert (body["method"], body["priority"]) == ("optimize", "high")


def test_optimize_tells_a_wrong_preset_before_it_uploads(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").touch()
    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    code, _, err = here("optimize", str(tmp_path), str(tmp_path / "0.jpg"), "-o", str(tmp_path), "-p", "monet")
    assert code == ExitCode.USAGE
    assert "There is no preset monet; known are gatys2016." in err
    assert not [request for request in api.requests if request.method != "GET"]


def test_a_painting_that_is_a_folder_is_refused(api: CannedApi, here: Run, tmp_path: Path) -> None:
    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    code, _, err = here("optimize", "s3://nst/in/0.jpg", str(tmp_path), "-o", str(tmp_path / "out"))
    assert code == ExitCode.USAGE
    assert "is a folder; one picture is needed" in err


def test_presets_are_a_table_or_json(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    assert "content + gram; L-BFGS" in here("presets")[1]
    assert json.loads(here("presets", "--json")[1]) == [PRESET]


def photos_in(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())
    return folder


def answer_job(api: CannedApi, *items: Any) -> None:
    """Let a job end at once with some items."""
    count = len(items)
    api.on("POST", "/v1/jobs", Answer(status=202, body=job_json("queued", total=0)))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", total=count, succeeded=count)))
    api.on("GET", "/v1/jobs/job_1/items?limit=200", Answer(body={"data": list(items)}))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=succeeded", Answer(body={"data": list(items)}))
    for number in range(count):
        api.on("GET", f"/v1/jobs/job_1/items/{number}/output", Answer(body=b"picture"))


STYLIZE = ("-s", "great_wave", "-o", "s3://nst/out/")


def test_photos_that_cannot_be_sent_fail_alone_and_are_named(api: CannedApi, here: Run, tmp_path: Path) -> None:
    folder = photos_in(tmp_path / "in", "a.jpg", "big.jpg", "clip.mov")
    (folder / "broken.jpg").symlink_to("/nonexistent/x.jpg")
    (folder / "big.jpg").write_bytes(bytes(1000))
    limits = tenant_json()
    limits["limits"]["max_upload_bytes"] = 999
    api.on("GET", "/v1/tenant", Answer(body=limits))
    answer_job(api, item_json(0, input="s3://nst/up1/a.jpg"))
    code, out, err = here("stylize", str(folder), *STYLIZE, "--json")
    assert code == ExitCode.PARTIAL
    assert api.files == {"up1/a.jpg": b"a.jpg"}
    assert "1 skipped: clip.mov" in err
    # Before the first byte, and again at the end.
    assert err.count("big.jpg has 1,000 bytes; the limit is 999 (too_large)") == 2
    result = json.loads(out)
    assert {Path(each["file"]).name: each["code"] for each in result["not_sent"]} == {
        "big.jpg": "too_large",
        "broken.jpg": "unreadable",
    }
    assert [each["code"] for each in result["skipped"]] == ["not_a_photo"]
    assert [image["photo"] for image in result["images"]] == [str(folder / "a.jpg")]


def test_a_photo_that_vanishes_or_is_refused_during_the_upload_fails_alone(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    folder = photos_in(tmp_path / "in", "a.jpg", "b.jpg", *(f"c{number}.jpg" for number in range(20)))
    api.on_file = lambda name: (folder / "c9.jpg").unlink(missing_ok=True)
    answer_job(api, item_json(0, input="s3://nst/up1/a.jpg"))
    code, _, err = here("stylize", str(folder), *STYLIZE)
    assert code == ExitCode.PARTIAL
    assert "c9.jpg cannot be read: No such file or directory (unreadable)" in err
    assert "up1/a.jpg" in api.files


def test_a_name_that_is_no_utf_8_is_uploaded_under_another_and_mapped_back(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    photo = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.jpg"))
    photo.write_bytes(b"photo")
    answer_job(api, item_json(0, input="s3://nst/up1/caf_.jpg"))
    code, out, _ = here("stylize", str(tmp_path), *STYLIZE, "--json")
    assert (code, api.files) == (ExitCode.OK, {"up1/caf_.jpg": b"photo"})
    assert os.fsencode(json.loads(out)["images"][0]["photo"]) == os.fsencode(photo)


def test_the_same_command_after_ctrl_c_goes_on_where_it_stopped(api: CannedApi, here: Run, tmp_path: Path) -> None:
    folder = photos_in(tmp_path / "in", *(f"{number:02}.jpg" for number in range(60)))
    answer_job(api, item_json(0))
    stored: list[str] = []

    def interrupt(name: str) -> None:
        stored.append(name)
        if len(stored) == 20:
            os.kill(os.getpid(), signal.SIGINT)
        if len(stored) >= 20:
            time.sleep(0.5)  # also on a busy machine, the command hears of it before all photos are stored

    api.on_file = interrupt
    code, _, err = here("stylize", str(folder), *STYLIZE)
    assert (code, "no job was submitted" in err) == (ExitCode.INTERRUPTED, True)
    assert 20 <= len(stored) < 60
    first, stored[:] = set(stored), ["already", "counted"] * 100
    code, _, err = here("stylize", str(folder), *STYLIZE)
    assert (code, f"{len(first)} of 60 photos are already uploaded" in err) == (ExitCode.OK, True)
    again = stored[200:]
    assert (len(again), set(again) & first) == (60 - len(first), set())
    assert len(api.files) == 60


def test_a_photo_that_has_changed_is_uploaded_anew(api: CannedApi, here: Run, tmp_path: Path) -> None:
    answer_job(api, item_json(0))
    for content in (b"first", b"other", b"first"):
        photos_in(tmp_path, "a.jpg")
        (tmp_path / "a.jpg").write_bytes(content)
        here("stylize", str(tmp_path), *STYLIZE)
    assert api.files == {"up1/a.jpg": b"first", "up2/a.jpg": b"other"}
    jobs = [json.loads(r.body)["input"]["prefix"] for r in api.requests if (r.method, r.path) == ("POST", "/v1/jobs")]
    assert jobs == ["s3://nst/up1/", "s3://nst/up2/", "s3://nst/up1/"]


def test_results_over_their_photos_are_refused_before_the_upload(api: CannedApi, here: Run, tmp_path: Path) -> None:
    folder = photos_in(tmp_path / "in", "a.jpg")
    (tmp_path / "link").symlink_to("in")
    for output, inputs in ((folder, folder), (tmp_path / "link", folder), (folder / "a.jpg", folder / "a.jpg")):
        code, _, err = here("stylize", str(inputs), "-s", "great_wave", "-o", str(output), "--name", "{stem}.{ext}")
        assert (code, "(output_is_input)" in err) == (ExitCode.USAGE, True)
    assert (folder / "a.jpg").read_bytes() == b"a.jpg"
    assert {request.method for request in api.requests} == {"GET"}


def test_stylize_writes_one_image_to_a_file_as_optimize_does(api: CannedApi, here: Run, tmp_path: Path) -> None:
    photo = photos_in(tmp_path, "a.jpg") / "a.jpg"
    answer_job(api, item_json(0, output="s3://nst/out/a__great_wave.png"))
    target = tmp_path / "new.png"
    assert here("stylize", str(photo), "-s", "great_wave", "-o", str(target))[0] == ExitCode.OK
    assert (target.read_bytes(), submitted(api)["output"]["format"]) == (b"picture", "png")
    for arguments in (
        (str(photo), "-s", "great_wave,great_wave@abababab", "-o", str(target)),
        (str(tmp_path), "-s", "great_wave", "-o", str(target)),
        (str(photo), "-s", "great_wave", "-o", str(target), "--format", "jpeg"),
        (str(photo), "-s", "great_wave", "-o", "new.gif"),
    ):
        assert here("stylize", *arguments)[0] == ExitCode.USAGE


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["s3://b/list.JSONL"], {"manifest": "s3://b/list.JSONL"}),
        (["s3://b/list.ndjson"], {"manifest": "s3://b/list.ndjson"}),
        (["s3://b/a.jfif"], {"uris": ["s3://b/a.jfif"]}),
        (["s3://b/a.HEIC", "s3://b/b.jpe"], {"uris": ["s3://b/a.HEIC", "s3://b/b.jpe"]}),
        (["s3://b/foo.jpg/"], {"prefix": "s3://b/foo.jpg/"}),
    ],
)
def test_addresses_are_told_by_their_spelling(
    api: CannedApi, here: Run, inputs: list[str], expected: dict[str, Any]
) -> None:
    answer_job(api, item_json(0))
    assert here("stylize", *inputs, *STYLIZE)[0] == ExitCode.OK
    assert submitted(api)["input"] == expected


def test_a_misspelt_style_gets_a_suggestion(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/styles/great_wav", problem(404, "not_found", "There is no style 'great_wav'."))
    api.on("GET", "/v1/styles/zzz", problem(404, "not_found", "There is no style 'zzz'."))
    code, _, err = here("stylize", "s3://nst/a.jpg", "-s", "great_wav", "-o", "s3://nst/out/")
    assert (code, "Did you mean great_wave?" in err) == (ExitCode.REFUSED, True)
    code, _, err = here("stylize", "s3://nst/a.jpg", "-s", "great_wave,zzz", "-o", "s3://nst/out/")
    assert (code, "There are great_wave." in err) == (ExitCode.REFUSED, True)
