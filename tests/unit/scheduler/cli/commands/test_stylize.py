"""`nst stylize`, against prepared answers."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, item_json, job_json, problem
from tests.unit.scheduler.cli.conftest import STYLE, Run
from tests.unit.scheduler.cli.submissions import (
    answer_job,
    photos_in,
    prepare_stylize,
    submitted,
)


def test_stylize_takes_an_id_and_limits(api: CannedApi, here: Run) -> None:
    api.on("PUT", "/v1/jobs/spring", Answer(status=202, body=job_json("queued")))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", succeeded=4)))
    options = ("--id", "spring", "--expires-after", "2h", "--priority", "low", "--label", "album=spring")
    code, _, _ = here("stylize", "s3://nst/in/", "-s", "great_wave", "-o", "s3://nst/out/", *options)
    assert code == ExitCode.OK
    body = next(json.loads(request.body) for request in api.requests if request.method == "PUT")
    assert (body["expires_after_s"], body["priority"], body["metadata"]) == (7200, "low", {"album": "spring"})


def test_stylize_sends_a_manifest_and_all_options(api: CannedApi, here: Run) -> None:
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


def test_stylize_takes_a_size_of_strokes(api: CannedApi, here: Run) -> None:
    prepare_stylize(api, job_json("succeeded", total=1, succeeded=1, stroke="auto"))
    code, *_ = here("stylize", "s3://nst/a.jpg", "-s", "great_wave", "-o", "s3://nst/out/", "--stroke", "auto")
    assert (code, submitted(api)["stroke"]) == (ExitCode.OK, "auto")


@pytest.mark.parametrize(
    ("option", "value", "wrong", "known"),
    [
        ("forms", "planes", "cubes", "one of 'none', 'planes'"),
        ("forms", "none", "clouds", "one of 'none', 'planes'"),
        ("look", "gallery", "museum", "one of 'gallery'"),
    ],
)
def test_stylize_takes_forms_and_a_look(
    api: CannedApi, here: Run, option: str, value: str, wrong: str, known: str
) -> None:
    changes: dict[str, Any] = {"total": 1, "succeeded": 1, option: value}
    prepare_stylize(api, job_json("succeeded", **changes))
    command = ("stylize", "s3://nst/a.jpg", "-s", "great_wave", "-o", "s3://nst/out/", f"--{option}")
    code, *_ = here(*command, value)
    assert (code, submitted(api)[option]) == (ExitCode.OK, value)
    code, _, err = here(*command, wrong)
    assert code == ExitCode.USAGE
    assert f"Invalid value for '--{option}': '{wrong}' is not {known}." in err


def test_a_wrong_size_of_strokes_is_refused_before_anything_is_sent(api: CannedApi, here: Run) -> None:
    code, _, err = here("stylize", "s3://nst/a.jpg", "-s", "great_wave", "-o", "s3://nst/out/", "--stroke", "5")
    assert code == ExitCode.USAGE
    assert "--stroke takes a number from 0.5 to 4, auto, fine or varied, not '5'." in err
    assert not api.requests


def test_stylize_enlarges_results(api: CannedApi, here: Run) -> None:
    prepare_stylize(api, job_json("succeeded", total=1, succeeded=1, upscale=4))
    code, *_ = here("stylize", "s3://nst/a.jpg", "-s", "great_wave", "-o", "s3://nst/out/", "--upscale", "4")
    assert (code, submitted(api)["upscale"]) == (ExitCode.OK, 4)


def test_another_enlargement_is_refused_before_anything_is_sent(api: CannedApi, here: Run) -> None:
    code, _, err = here("stylize", "s3://nst/a.jpg", "-s", "great_wave", "-o", "s3://nst/out/", "--upscale", "3")
    assert code == ExitCode.USAGE
    assert "--upscale takes 2 or 4, not 3." in err
    assert not api.requests


def test_stylize_takes_a_version_of_a_style(api: CannedApi, here: Run) -> None:
    prepare_stylize(api, job_json("succeeded", total=2, succeeded=2))
    api.on("GET", "/v1/styles/great_wave?version=abababab", Answer(body=STYLE))
    code, *_ = here("stylize", "s3://nst/a.jpg", "-s", "great_wave@abababab", "-o", "s3://nst/out/")
    assert code == ExitCode.OK
    assert submitted(api)["styles"] == ["great_wave@abababab"]


def test_stylize_takes_a_blend_of_styles(api: CannedApi, here: Run, tmp_path: Path) -> None:
    prepare_stylize(api, job_json("succeeded", total=2, succeeded=2))
    api.on("GET", "/v1/styles/udnie?version=abababab", Answer(body=STYLE))
    code, *_ = here("stylize", "s3://nst/a.jpg", "-s", "udnie@abababab:2,great_wave:3", "-o", "s3://nst/out/")
    assert code == ExitCode.OK
    assert submitted(api)["styles"] == ["great_wave:0.6,udnie@abababab:0.4"]
    code, _, err = here("stylize", "s3://nst/a.jpg", "-s", "great_wave:1,udnie:0", "-o", "s3://nst/out/")
    assert (code, "share above 0" in err) == (ExitCode.USAGE, True)
    api.on("GET", "/v1/styles/zzz", problem(404, "not_found", "There is no style 'zzz'."))
    code, _, err = here("stylize", "s3://nst/a.jpg", "-s", "great_wave:1,zzz:1", "-o", "s3://nst/out/")
    assert (code, "There is no style 'zzz'." in err) == (ExitCode.REFUSED, True)


def test_a_wrong_style_is_reported_before_the_upload(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").touch()
    api.on("GET", "/v1/styles/van_gogh", problem(404, "not_found", "There is no style 'van_gogh'."))
    code, _, err = here("stylize", str(tmp_path), "-s", "van_gogh", "-o", str(tmp_path / "out"))
    assert code == ExitCode.REFUSED
    assert "There is no style 'van_gogh'." in err
    assert not [request for request in api.requests if request.method != "GET"]


def test_stylize_writes_one_image_to_a_file(api: CannedApi, here: Run, tmp_path: Path) -> None:
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


def test_a_misspelt_style_gets_a_suggestion(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/styles/great_wav", problem(404, "not_found", "There is no style 'great_wav'."))
    api.on("GET", "/v1/styles/zzz", problem(404, "not_found", "There is no style 'zzz'."))
    code, _, err = here("stylize", "s3://nst/a.jpg", "-s", "great_wav", "-o", "s3://nst/out/")
    assert (code, "Did you mean great_wave?" in err) == (ExitCode.REFUSED, True)
    code, _, err = here("stylize", "s3://nst/a.jpg", "-s", "great_wave,zzz", "-o", "s3://nst/out/")
    assert (code, "There are great_wave." in err) == (ExitCode.REFUSED, True)
