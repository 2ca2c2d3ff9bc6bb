"""A job from photos on this machine to results on this machine."""

import json
from pathlib import Path

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import CannedApi, job_json
from tests.unit.scheduler.cli.conftest import Run
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
