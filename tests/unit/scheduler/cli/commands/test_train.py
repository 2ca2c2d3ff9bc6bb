"""`nst styles train` and `nst styles watch`, against a real HTTP server with prepared answers."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scheduler.cli import run
from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api, problem
from tests.unit.scheduler.canned_runs import OTHER_ID, PRESETS, RUN_ID, going_json, run_json, sample_json

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with canned_api() as server:
        server.on("GET", "/v1/training-presets", Answer(body=PRESETS))
        server.on("POST", "/v1/styles", Answer(status=202, body=run_json("queued")))
        server.on("GET", "/v1/runs?limit=1&name=night", Answer(body={"data": [run_json()]}))
        server.on("GET", f"/v1/runs/{RUN_ID}/samples", Answer(body={"data": [sample_json("a", 500)]}))
        yield server


@pytest.fixture
def nst(api: CannedApi, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command for the prepared API; returns its exit code, standard output and standard error."""

    def nst(*arguments: str) -> tuple[int, str, str]:
        code = run(["--url", api.url, "--api-key", "nst_key", "--home", str(tmp_path / "home"), *arguments])
        sys.stdout.flush()
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return nst


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").convert("RGB").save(path)
    return path


def asked(api: CannedApi) -> Any:
    (request,) = [request for request in api.requests if (request.method, request.path) == ("POST", "/v1/styles")]
    return json.loads(request.body)


def test_a_local_painting_photos_and_samples_are_uploaded_and_the_run_is_submitted(
    api: CannedApi, nst: Run, tmp_path: Path
) -> None:
    painting = picture(tmp_path / "night.png")
    photos = [picture(tmp_path / "photos" / name) for name in ("a.jpg", "sub/b.jpg")]
    other = picture(tmp_path / "else" / "c.jpg")
    code, out, err = nst(
        *("styles", "train", str(painting), "--name", "night", "--data", str(tmp_path / "photos")),
        *("--sample", str(photos[0]), "--sample", str(other), "--sample", str(other), "--sample", "s3://nst/d.jpg"),
        *("--preset", "standard", "--steps", "700", "--stroke", "1.5", "--strength", "0.5", "--seed", "3"),
        *("--initial", "none", "--set", "batch_size=2", "--set", "network=vgg19", "--no-publish", "--exact"),
        *("--sample-every", "50", "--held-out", "4"),
        *("--title", "Night", "--artist", "Someone", "--year", "1889", "--rights", "Free"),
    )
    assert (code, out) == (ExitCode.OK, f"queued {RUN_ID}\n")
    home = tmp_path / "home"
    assert err == f"Watch it with nst --url {api.url} --home {home} styles watch night\n"
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


def test_what_is_in_storage_is_named_and_nothing_is_uploaded(api: CannedApi, nst: Run) -> None:
    code, *_ = nst("styles", "train", "s3://nst/night.png", "-n", "night", "--data", "s3://nst/photos")
    assert code == ExitCode.OK
    assert (asked(api)["painting"], asked(api)["data"]) == ("s3://nst/night.png", "s3://nst/photos/")
    assert api.files == {}


def test_without_data_and_steps_the_choice_is_that_of_the_api(api: CannedApi, nst: Run) -> None:
    nst("styles", "train", "s3://nst/night.png", "-n", "night")
    assert not asked(api).keys() & {"data", "steps", "initial", "sample_every", "held_out"}


def test_samples_with_the_same_stem_keep_names_of_their_own(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    photos = [picture(tmp_path / name) for name in ("photos/a.jpg", "photos/sub/a.jpg", "else/a.png")]
    samples = [part for photo in photos for part in ("--sample", str(photo))]
    command = ["styles", "train", "s3://nst/night.png", "-n", "night", "--data", str(tmp_path / "photos"), *samples]
    assert nst(*command)[0] == ExitCode.OK
    assert asked(api)["samples"] == ["s3://nst/up1/a.jpg", "s3://nst/up2/a-jpg.jpg", "s3://nst/up2/a-png.png"]


def test_a_painting_that_is_also_a_sample_is_uploaded_once(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    painting = picture(tmp_path / "night.png")
    nst("styles", "train", str(painting), "-n", "night", "--sample", str(tmp_path / "." / "night.png"))
    assert asked(api)["samples"] == [asked(api)["painting"]] == ["s3://nst/up1/night.png"]
    assert len(api.files) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["text.png"], ExitCode.LOCAL, "text.png: "),
        (["gone.png"], ExitCode.USAGE, "There is no file or folder gone.png."),
        (["photos"], ExitCode.USAGE, "photos is a folder; one picture is needed."),
        (["night.png", "--data", "night.png"], ExitCode.USAGE, "night.png is a file; --data takes a folder of photos"),
        (["night.png", "--data", "empty"], ExitCode.USAGE, "There are no photos in empty."),
        (["night.png", "--sample", "gone.jpg"], ExitCode.USAGE, "There is no file or folder gone.jpg."),
        (["night.png", *(f"--sample=s3://nst/{n}.jpg" for n in range(9))], ExitCode.USAGE, "takes at most 8 samples"),
        (["night.png", "--preset", "fast"], ExitCode.USAGE, "There is no preset fast; known are standard."),
        (["night.png", "--stroke", "0"], ExitCode.USAGE, "--stroke"),
        (["night.png", "--set", "seed"], ExitCode.USAGE, "--set takes FIELD=VALUE"),
        (["night.png", "--initial", "@1234"], ExitCode.USAGE, "NAME or NAME@VERSION"),
        (["night.png", "--initial", "monet"], ExitCode.REFUSED, "There is no style 'monet'."),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_uploaded(
    api: CannedApi,
    nst: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: ExitCode,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "night.png")
    picture(tmp_path / "photos" / "a.jpg")
    (tmp_path / "text.png").write_text("This is no picture.\n" * 20)
    (tmp_path / "empty").mkdir()
    api.on("GET", "/v1/styles/monet", problem(404, "not_found", "There is no style 'monet'."))
    data = [] if "--data" in arguments else ["--data", "photos"]
    got, out, err = nst("styles", "train", *arguments, "--name", "night", *data)
    assert (got, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1
    assert not [request for request in api.requests if request.method != "GET"]


def test_a_warning_of_the_api_is_passed_on(api: CannedApi, nst: Run) -> None:
    with canned_api() as other:
        other.on("GET", "/v1/training-presets", Answer(body=PRESETS))
        other.on(
            "POST", "/v1/styles", Answer(status=202, body=run_json("queued", warning="There are only 40 [photos]."))
        )
        command = ["--url", other.url, "styles", "train", "s3://nst/night.png", "-n", "night", "--json"]
        code, out, err = nst(*command)
    assert code == ExitCode.OK
    assert json.loads(out)["id"] == RUN_ID
    assert "Warning: There are only 40 [photos].\n" in err


def test_a_refusal_of_the_api_is_exit_code_6(nst: Run) -> None:
    with canned_api() as other:
        other.on("GET", "/v1/training-presets", Answer(body=PRESETS))
        errors = [{"pointer": "/data", "detail": "There are no photos."}]
        other.on("POST", "/v1/styles", problem(422, "request_invalid", "There are no photos.", errors=errors))
        code, out, err = nst("--url", other.url, "styles", "train", "s3://nst/night.png", "-n", "night")
    assert (code, out) == (ExitCode.REFUSED, "")
    assert err == "nst: error: There are no photos. (/data) (request_invalid)\n"


def test_ctrl_c_during_the_upload_submits_nothing(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    api.on_file = lambda name: os.kill(os.getpid(), signal.SIGINT)
    code, out, err = nst("styles", "train", str(picture(tmp_path / "night.png")), "-n", "night")
    assert (code, out) == (ExitCode.INTERRUPTED, "")
    assert "Stopped during the upload; no run was submitted." in err
    assert not [request for request in api.requests if request.path == "/v1/styles"]


def ends(api: CannedApi, *runs: Any) -> None:
    """Let the run stand so, the last time for good."""
    api.on("GET", f"/v1/runs/{RUN_ID}", *(Answer(body=body) for body in runs))


def test_train_with_watch_goes_on_to_the_end(api: CannedApi, nst: Run) -> None:
    evaluation = {"photos": 16, "remarks": ["There are [dots] in dark places."]}
    done = {"step": 2000, "segments": 9, "version": "ab" * 32, "published": True, "evaluation": evaluation}
    ends(api, going_json(500, segments=4), run_json("succeeded", **done))
    code, out, err = nst("styles", "train", "s3://nst/night.png", "-n", "night", "--watch")
    assert (code, out) == (ExitCode.OK, "")
    assert f"{RUN_ID} running: step 500 of 2,000, content 1.343e+05" in err
    assert f"{RUN_ID} sample at step 500: {api.url}/v1/runs/{RUN_ID}/samples/a_00000500.jpg" in err
    assert "✓ night is trained after 2,000 steps" in err
    assert "! There are [dots] in dark places.\n" in err
    assert f"preview {api.url}/v1/runs/{RUN_ID}/sheet.jpg" in err
    assert f"curve   {api.url}/v1/runs/{RUN_ID}/losses.png" in err


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("succeeded", ExitCode.OK),
        ("failed", ExitCode.FAILED),
        ("cancelled", ExitCode.CANCELLED),
        ("paused", ExitCode.CANCELLED),
    ],
)
def test_watch_exits_as_the_training_ended(api: CannedApi, nst: Run, status: str, code: ExitCode) -> None:
    error = {"code": "training_diverged", "message": "The losses became infinite."} if status == "failed" else None
    ends(api, run_json(status, error=error))
    got, out, err = nst("styles", "watch", "night")
    assert (got, out) == (code, "")
    assert f"{RUN_ID} {status}: step 0 of 2,000" in err
    assert ("The losses became infinite. (training_diverged)" in err) == (status == "failed")


def test_watch_takes_an_id_too_and_writes_json(api: CannedApi, nst: Run) -> None:
    ends(api, run_json("succeeded", step=2000))
    code, out, _ = nst("styles", "watch", RUN_ID, "--json")
    assert code == ExitCode.OK
    assert json.loads(out)["step"] == 2000


def test_a_name_that_was_never_trained_is_not_found(api: CannedApi, nst: Run) -> None:
    api.on("GET", "/v1/runs?limit=1&name=[day]", Answer(body={"data": []}))
    api.on("GET", "/v1/runs?limit=1&name=%5Bday%5D", Answer(body={"data": []}))
    code, _, err = nst("styles", "watch", "[day]")
    assert (code, err) == (
        ExitCode.REFUSED,
        "nst: error: There is no training of a style '[day]'. (not_found)\n",
    )


def test_samples_that_cannot_be_listed_do_not_end_the_watching(api: CannedApi, nst: Run) -> None:
    api.on("GET", f"/v1/runs/{OTHER_ID}/samples", problem(500, "internal", "The server failed; its log says why."))
    for body in (going_json(500, segments=1, id=OTHER_ID), run_json("succeeded", id=OTHER_ID, step=2000)):
        api.on("GET", f"/v1/runs/{OTHER_ID}", Answer(body=body))
    assert nst("styles", "watch", OTHER_ID)[0] == ExitCode.OK


def test_ctrl_c_leaves_the_training_going_and_says_so(api: CannedApi, nst: Run) -> None:
    interrupt = Answer(body=run_json(), first=lambda: os.kill(os.getpid(), signal.SIGINT))
    api.on("GET", f"/v1/runs/{RUN_ID}", Answer(body=run_json()), interrupt, Answer(body=run_json()))
    code, out, err = nst("styles", "watch", "night")
    assert (code, out) == (ExitCode.INTERRUPTED, "")
    assert f"The training continues. Watch it with nst --url {api.url}" in err
    assert "styles watch night\n" in err
    assert f"runs pause {RUN_ID}\n" in err
    assert f"runs cancel {RUN_ID}\n" in err
    assert not [request for request in api.requests if request.method != "GET"]
