"""What a training reads, and what of it is uploaded."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api
from tests.unit.scheduler.canned_runs import PRESETS, RUN_ID, run_json, sample_json
from tests.unit.scheduler.cli.conftest import Run


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with canned_api() as server:
        server.on("GET", "/v1/training-presets", Answer(body=PRESETS))
        server.on("POST", "/v1/styles", Answer(status=202, body=run_json("queued")))
        server.on("GET", "/v1/runs?limit=1&name=night", Answer(body={"data": [run_json()]}))
        server.on("GET", f"/v1/runs/{RUN_ID}/samples", Answer(body={"data": [sample_json("a", 500)]}))
        yield server


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").convert("RGB").save(path)
    return path


def asked(api: CannedApi) -> Any:
    (request,) = [request for request in api.requests if (request.method, request.path) == ("POST", "/v1/styles")]
    return json.loads(request.body)


def test_local_files_are_uploaded_and_the_training_is_submitted(api: CannedApi, here: Run, tmp_path: Path) -> None:
    painting = picture(tmp_path / "night.png")
    photos = [picture(tmp_path / "photos" / name) for name in ("a.jpg", "sub/b.jpg")]
    other = picture(tmp_path / "else" / "c.jpg")
    code, out, err = here(
        *("styles", "train", str(painting), "--name", "night", "--data", str(tmp_path / "photos")),
        *("--sample", str(photos[0]), "--sample", str(other), "--sample", str(other), "--sample", "s3://nst/d.jpg"),
        *("--preset", "standard", "--steps", "700", "--stroke", "1.5", "--strength", "0.5", "--seed", "3"),
        *("--initial", "none", "--set", "batch_size=2", "--set", "network=vgg19", "--no-publish", "--exact"),
        *("--sample-every", "50", "--held-out", "4"),
        *("--title", "Night", "--artist", "Someone", "--year", "1889", "--rights", "Free"),
    )
    assert (code, out) == (ExitCode.OK, f"queued {RUN_ID}\n")
    assert err == f"Watch it with nst --url {api.url} styles watch night\n"
    # The sample that is one of the photos is not uploaded again.
    assert sorted(api.files) == ["up1/a.jpg", "up1/sub/b.jpg", "up2/c.jpg", "up2/night.png"]
    assert asked(api) == {
        "name": "night",
        "painting": "s3://nst/up2/night.png",
        "data": "s3://nst/up1/",
        "preset": "standard",
        "steps": 700,
        "stroke": 1.5,
        "strength": 0.5,
        "seed": 3,
        "options": {"batch_size": 2, "network": "vgg19"},
        "initial": "none",
        "samples": ["s3://nst/up1/a.jpg", "s3://nst/up2/c.jpg", "s3://nst/d.jpg"],
        "sample_every": 50,
        "held_out": 4,
        "publish": False,
        "exact": True,
        "about": {"title": "Night", "artist": "Someone", "year": "1889", "rights": "Free"},
    }


def test_addresses_are_not_uploaded(api: CannedApi, here: Run) -> None:
    code, *_ = here("styles", "train", "s3://nst/night.png", "-n", "night", "--data", "s3://nst/photos")
    assert code == ExitCode.OK
    assert (asked(api)["painting"], asked(api)["data"]) == ("s3://nst/night.png", "s3://nst/photos/")
    assert api.files == {}


def test_samples_with_the_same_stem_get_different_names(api: CannedApi, here: Run, tmp_path: Path) -> None:
    photos = [picture(tmp_path / name) for name in ("photos/a.jpg", "photos/sub/a.jpg", "else/a.png")]
    samples = [part for photo in photos for part in ("--sample", str(photo))]
    command = ["styles", "train", "s3://nst/night.png", "-n", "night", "--data", str(tmp_path / "photos"), *samples]
    assert here(*command)[0] == ExitCode.OK
    assert asked(api)["samples"] == ["s3://nst/up1/a.jpg", "s3://nst/up2/a-jpg.jpg", "s3://nst/up2/a-png.png"]


def test_a_painting_that_is_also_a_sample_is_uploaded_once(api: CannedApi, here: Run, tmp_path: Path) -> None:
    painting = picture(tmp_path / "night.png")
    here("styles", "train", str(painting), "-n", "night", "--sample", str(tmp_path / "." / "night.png"))
    assert asked(api)["samples"] == [asked(api)["painting"]] == ["s3://nst/up1/night.png"]
    assert len(api.files) == 1


def test_ctrl_c_during_the_upload_submits_nothing(api: CannedApi, here: Run, tmp_path: Path) -> None:
    api.on_file = lambda name: os.kill(os.getpid(), signal.SIGINT)
    code, out, err = here("styles", "train", str(picture(tmp_path / "night.png")), "-n", "night")
    assert (code, out) == (ExitCode.INTERRUPTED, "")
    assert "Stopped during the upload; no run was submitted." in err
    assert not [request for request in api.requests if request.path == "/v1/styles"]
