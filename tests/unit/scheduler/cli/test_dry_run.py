"""Dry runs of `nst stylize` and `nst optimize`."""

import json
from pathlib import Path

import pytest
from PIL import Image

from scheduler.cli.exits import ExitCode
from tests.photos import png_header, small_photos
from tests.unit.scheduler.canned_api import Answer, CannedApi, tenant_json
from tests.unit.scheduler.cli.conftest import Run
from tests.unit.scheduler.cli.submissions import PRESET, STYLIZE, prepare_check


def test_a_dry_run_prints_what_the_job_would_do(api: CannedApi, here: Run) -> None:
    check = {"valid": True, "photos": 3, "items": 3, "failing": 1, "estimated_s": 90.0}
    api.on("POST", "/v1/jobs?validate=true", Answer(body=check))
    code, out, _ = here("stylize", "s3://nst/in/", "-s", "great_wave", "-o", "s3://nst/out/", "--dry-run")
    assert code == ExitCode.PARTIAL
    assert "3 photos, 2 images, 1 would fail at once, about 1:30" in out


def test_a_dry_run_reads_local_photos_and_uploads_none(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, data in zip(("a.png", "sub/a.png"), small_photos(2).values(), strict=True):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    api.on("GET", "/v1/tenant", Answer(body=tenant_json(max_items_per_job=3)))
    prepare_check(api)
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
    assert (code, found["valid"], found["photos"], found["failing"]) == (ExitCode.PARTIAL, True, 3, 2)
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


def test_a_dry_run_respects_the_limit_of_images_per_job(api: CannedApi, here: Run, tmp_path: Path) -> None:
    for name, data in small_photos(3).items():
        (tmp_path / name).write_bytes(data)
    prepare_check(api, {"valid": True, "photos": 3, "items": 3, "failing": 0, "problems": [], "estimated_s": 90.0})
    limits = {2: ExitCode.FAILED, 3: ExitCode.OK, None: ExitCode.OK}
    api.on(
        "GET", "/v1/tenant", *(Answer(body=tenant_json(max_items_per_job=most)) for most in limits for _ in range(2))
    )
    for most, expected in limits.items():
        code, out, _ = here("stylize", str(tmp_path), "-s", "great_wave", "-o", "out", "--dry-run")
        assert (code, "A job may have at most 2 images. (quota_exceeded)" in out) == (expected, most == 2)


def test_a_dry_run_of_many_photos_asks_several_times(api: CannedApi, here: Run, tmp_path: Path) -> None:
    [photo] = small_photos(1, side_px=16).values()
    for number in range(1001):
        (tmp_path / f"{number:04}.png").write_bytes(photo)
    api.on("GET", "/v1/tenant", Answer(body=tenant_json()))
    prepare_check(api)
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


def test_a_dry_run_tells_how_many_photos_were_looked_up(api: CannedApi, here: Run) -> None:
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
        ((9000, 6000), (), None),
    ],
)
def test_a_dry_run_checks_the_size_of_the_results(
    api: CannedApi, here: Run, tmp_path: Path, size: tuple[int, int], options: tuple[str, ...], code: str | None
) -> None:
    Image.new("1", size).save(tmp_path / "a.png")
    api.on("GET", "/v1/tenant", Answer(body=tenant_json()))
    prepare_check(api)
    check = {"valid": True, "photos": 1, "items": 1, "failing": 0}
    api.on("POST", "/v1/jobs?validate=true&objects=false", Answer(body=check))
    _, out, _ = here("stylize", str(tmp_path), "-s", "great_wave", "-o", "out", "--dry-run", "--json", *options)
    assert [each["code"] for each in json.loads(out)["problems"]] == ([] if code is None else [code])


def test_a_dry_run_names_photos_that_are_too_large_for_workers(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png_header(20_000, 10_001))
    api.on("GET", "/v1/tenant", Answer(body=tenant_json()))
    prepare_check(api)
    check = {"valid": True, "photos": 1, "items": 1, "failing": 0}
    api.on("POST", "/v1/jobs?validate=true&objects=false", Answer(body=check))
    _, out, _ = here("stylize", str(tmp_path), "-s", "great_wave", "-o", "out", "--dry-run", "--json")
    [problem] = json.loads(out)["problems"]
    assert (problem["code"], "200,000,000" in problem["message"]) == ("image_too_large", True)


def test_a_dry_run_of_optimize_checks_the_painting_and_uploads_nothing(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    photo, painting = small_photos(2).values()
    (tmp_path / "a.png").write_bytes(photo)
    (tmp_path / "night.png").write_bytes(painting)
    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    api.on("GET", "/v1/tenant", Answer(body=tenant_json()))
    prepare_check(api, {"valid": True, "photos": 1, "items": 1, "failing": 0, "estimated_s": 90.0})
    files = (str(tmp_path / "a.png"), str(tmp_path / "night.png"))
    code, out, _ = here("optimize", *files, "-o", "out", "--dry-run")
    assert (code, "1 photo, 1 image, about 1:30" in out) == (ExitCode.OK, True)
    [body] = [json.loads(request.body) for request in api.requests if request.path.startswith("/v1/jobs")]
    assert (body["input"], body["paintings"]) == ({"uris": ["s3://nst/up/a.png"]}, ["s3://nst/up/night.png"])
    # Photos in the storage are not looked up, because the painting is not there.
    code, *_ = here("optimize", "s3://nst/in/", files[1], "-o", "s3://nst/out/", "--dry-run")
    assert (code, json.loads(api.requests[-2].body)["input"]) == (ExitCode.OK, {"prefix": "s3://nst/in/"})
    assert not any(request.method == "PUT" for request in api.requests)


def test_a_dry_run_with_a_broken_painting_would_fail(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "night.png").write_bytes(b"no image")
    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    command = ("optimize", "s3://nst/in/", str(tmp_path / "night.png"), "-o", "s3://nst/out/", "--dry-run", "--json")
    code, out, _ = here(*command)
    [problem] = json.loads(out)["problems"]
    assert (code, problem["code"], problem["input"]) == (
        ExitCode.FAILED,
        "image_undecodable",
        str(tmp_path / "night.png"),
    )
    assert not any(request.path.startswith("/v1/jobs") for request in api.requests)


@pytest.mark.parametrize("option", ["--mask={}", "--region=great_wave={}"])
def test_a_dry_run_with_a_broken_mask_would_fail(api: CannedApi, here: Run, tmp_path: Path, option: str) -> None:
    (tmp_path / "mask.png").write_bytes(b"no image")
    mask = str(tmp_path / "mask.png")
    code, out, _ = here("stylize", "s3://nst/in/", *STYLIZE, option.format(mask), "--dry-run", "--json")
    [problem] = json.loads(out)["problems"]
    assert (code, problem["code"], problem["input"]) == (ExitCode.FAILED, "image_undecodable", mask)


def test_a_mask_may_be_smaller_than_a_photo_and_a_painting_may_not(api: CannedApi, here: Run, tmp_path: Path) -> None:
    thin = str(tmp_path / "thin.png")
    Image.linear_gradient("L").resize((1, 3000)).save(thin)
    api.on("GET", "/v1/tenant", Answer(body=tenant_json()))
    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    prepare_check(api, {"valid": True, "photos": 1, "items": 1, "failing": 0})
    for option in ("--mask={}", "--region=great_wave={}"):
        assert here("stylize", "s3://nst/in/", *STYLIZE, option.format(thin), "--dry-run")[0] == ExitCode.OK
    code, out, _ = here("optimize", "s3://nst/in/", thin, "-o", "s3://nst/out/", "--dry-run", "--json")
    assert (code, json.loads(out)["problems"][0]["code"]) == (ExitCode.FAILED, "image_too_small")


def test_a_dry_run_of_addresses_alone_looks_them_up(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    api.on("POST", "/v1/jobs?validate=true", Answer(body={"valid": True, "photos": 2, "items": 2, "failing": 0}))
    command = ("optimize", "s3://nst/in/", "s3://nst/night.png", "-o", "s3://nst/out/", "--dry-run")
    code, out, _ = here(*command)
    assert (code, "2 photos, 2 images" in out) == (ExitCode.OK, True)


def test_a_dry_run_with_the_same_mask_twice(api: CannedApi, here: Run, tmp_path: Path) -> None:
    [photo] = small_photos(1).values()
    for name in ("a.png", "mask.png"):
        (tmp_path / name).write_bytes(photo)
    api.on("GET", "/v1/tenant", Answer(body=tenant_json()))
    prepare_check(api, {"valid": True, "photos": 1, "items": 1, "failing": 0})
    mask = str(tmp_path / "mask.png")
    masks = ("--mask", mask, "--region", f"great_wave={mask}")
    assert here("stylize", str(tmp_path / "a.png"), *STYLIZE, *masks, "--dry-run")[0] == ExitCode.OK
    [body] = [json.loads(request.body) for request in api.requests if request.path.startswith("/v1/jobs")]
    assert body["mask"] == body["regions"][0]["mask"] == "s3://nst/up/mask.png"
