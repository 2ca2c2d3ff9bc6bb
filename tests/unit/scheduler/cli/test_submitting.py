"""A job from photos on this machine to results on this machine."""

import json
from pathlib import Path

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, job_json, problem
from tests.unit.scheduler.cli.conftest import STYLE, Run
from tests.unit.scheduler.cli.submissions import (
    prepare_stylize,
    submitted,
)


def test_stylize_uploads_submits_and_downloads(api: CannedApi, here: Run, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "sub").mkdir(parents=True)
    (photos / "0.jpg").write_bytes(b"photo 0")
    (photos / "sub/1.jpg").write_bytes(b"photo 1")
    prepare_stylize(api, job_json("partially_succeeded", total=2, succeeded=1, failed=1))
    options = ("--strength", "0.5", "--precision", "exact", "--stroke", "2", "--max-px", "800")
    code, stdout, err = here("stylize", str(photos), "-s", "great_wave", "-o", str(out), "--json", *options)
    assert code == ExitCode.PARTIAL
    assert api.files == {"up1/0.jpg": b"photo 0", "up1/sub/1.jpg": b"photo 1"}
    request = submitted(api)
    assert request["input"] == {"prefix": "s3://nst/up1/"}
    assert (request["strength"], request["precision"], request["stroke"]) == (0.5, "exact", 2.0)
    assert (request["output"]["max_px"], request["output"]["prefix"]) == (800, None)
    images = json.loads(stdout)["images"]
    assert [image["file"] for image in images] == [str(out / "sub/0__great_wave.jpg"), None]
    assert (out / "sub/0__great_wave.jpg").read_bytes() == b"picture"
    assert "1 of 2 images" in err


def test_stylize_into_storage_downloads_nothing(api: CannedApi, here: Run) -> None:
    prepare_stylize(api, job_json("succeeded", total=1, succeeded=1))
    code, _, err = here("stylize", "s3://nst/in", "-s", "great_wave", "-o", "s3://nst/out/")
    assert code == ExitCode.OK
    assert submitted(api)["input"] == {"prefix": "s3://nst/in/"}
    assert submitted(api)["stroke"] is None
    assert submitted(api)["output"]["prefix"] == "s3://nst/out/"
    assert "→ s3://nst/out/" in err
    assert not [request for request in api.requests if request.path.endswith("/output")]


def test_a_mask_on_this_machine_is_uploaded_on_its_own(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    (tmp_path / "mask.png").write_bytes(b"mask")
    prepare_stylize(api, job_json("succeeded", total=1, succeeded=1))
    options = ("-s", "great_wave", "-o", "s3://nst/out/", "--mask", str(tmp_path / "mask.png"))
    code, _, _ = here("stylize", str(tmp_path / "a.jpg"), *options)
    assert code == ExitCode.OK
    request = submitted(api)
    [mask] = [name for name, data in api.files.items() if data == b"mask"]
    [photo] = [name for name, data in api.files.items() if data == b"photo"]
    assert request["mask"] == f"s3://nst/{mask}"
    assert mask.split("/")[0] != photo.split("/")[0], "it would be one of the photos"


def test_a_mask_in_the_storage_is_named(api: CannedApi, here: Run) -> None:
    prepare_stylize(api, job_json("succeeded", total=1, succeeded=1))
    here("stylize", "s3://nst/in", "-s", "great_wave", "-o", "s3://nst/out/", "--mask", "s3://nst/mask.png")
    assert submitted(api)["mask"] == "s3://nst/mask.png"


def test_masks_of_regions_are_uploaded_with_that_of_the_job(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"photo")
    for name in ("mask", "sky"):
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    prepare_stylize(api, job_json("succeeded", total=1, succeeded=1))
    options = ("-s", "great_wave", "-o", "s3://nst/out/", "--mask", str(tmp_path / "mask.png"))
    sky = str(tmp_path / "sky.png")
    regions = (f"great_wave={sky}", "great_wave@abababab=s3://nst/tree.png", f"great_wave:1,udnie:1={sky}")
    for style in ("great_wave?version=abababab", "udnie"):
        api.on("GET", f"/v1/styles/{style}", Answer(body=STYLE))
    code, _, _ = here("stylize", str(tmp_path / "a.jpg"), *options, *(f"--region={each}" for each in regions))
    assert code == ExitCode.OK
    request = submitted(api)
    stored = {data: f"s3://nst/{name}" for name, data in api.files.items()}
    assert len(stored) == 3
    assert request["mask"] == stored[b"mask"]
    assert request["regions"] == [
        {"style": "great_wave", "mask": stored[b"sky"]},
        {"style": "great_wave@abababab", "mask": "s3://nst/tree.png"},
        {"style": "great_wave:0.5,udnie:0.5", "mask": stored[b"sky"]},
    ]


def test_masks_of_regions_may_be_in_a_manifest(api: CannedApi, here: Run) -> None:
    prepare_stylize(api, job_json("succeeded", total=1, succeeded=1))
    here("stylize", "s3://nst/m.jsonl", "-s", "great_wave", "-o", "s3://nst/out/", "--region", "great_wave")
    assert submitted(api)["regions"] == [{"style": "great_wave", "mask": None}]


def test_an_unknown_style_of_a_region_is_reported_before_the_upload(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").touch()
    api.on("GET", "/v1/styles/van_gogh", problem(404, "not_found", "There is no style 'van_gogh'."))
    options = ("-s", "great_wave", "-o", str(tmp_path / "out"), "--region", "van_gogh=sky.png")
    code, _, err = here("stylize", str(tmp_path), *options)
    assert (code, "There is no style 'van_gogh'." in err) == (ExitCode.REFUSED, True)
    assert not [request for request in api.requests if request.method != "GET"]
