"""`nst optimize` and `nst presets`, against prepared answers."""

import json
from pathlib import Path

import pytest

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, job_json
from tests.unit.scheduler.cli.conftest import Run
from tests.unit.scheduler.cli.submissions import (
    PRESET,
    photos_in,
    prepare_optimize,
    submitted,
)


def test_optimize_sends_limits_and_labels(api: CannedApi, here: Run) -> None:
    prepare_optimize(api)
    options = ("--label", "album=spring", "--expires-after", "2h", "--max-failures", "3", "--max-attempts", "2")
    code, _, _ = here("optimize", "s3://nst/a.jpg", "s3://nst/night.png", "-o", "s3://nst/out/", *options)
    body = submitted(api)
    assert (code, body["metadata"], body["expires_after_s"]) == (ExitCode.OK, {"album": "spring"}, 7200)
    assert (body["max_failures"], body["max_attempts"]) == (3, 2)


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
    assert "styles" not in request
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


def test_a_wrong_preset_is_reported_before_the_upload(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").touch()
    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    code, _, err = here("optimize", str(tmp_path), str(tmp_path / "0.jpg"), "-o", str(tmp_path), "-p", "monet")
    assert code == ExitCode.USAGE
    assert "There is no preset monet; known are gatys2016." in err
    assert not [request for request in api.requests if request.method != "GET"]


def test_presets_are_a_table_or_json(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    assert "content + gram; L-BFGS" in here("presets")[1]
    assert json.loads(here("presets", "--json")[1]) == [PRESET]


@pytest.mark.parametrize(
    ("painting", "style"), [("my%2Fnight.png", "my_2Fnight"), ("x" * 70 + ".png", "x" * 64), ("p.q.png", "p.q")]
)
def test_results_are_recognised_by_the_name_that_the_painting_has_in_the_upload(
    api: CannedApi, here: Run, tmp_path: Path, painting: str, style: str
) -> None:
    folder = photos_in(tmp_path / "in", "0.jpg", f"0__{style}.jpg")
    photos_in(tmp_path, painting)
    prepare_optimize(api)
    here("optimize", str(folder), str(tmp_path / painting), "-o", str(folder))
    assert {name for name in api.files if name.startswith("up1/")} == {"up1/0.jpg"}
