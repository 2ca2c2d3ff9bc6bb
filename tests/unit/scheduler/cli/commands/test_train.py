"""`nst styles train`, against a real HTTP server with prepared answers."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nst_core.styles import version_of
from nst_core.training.paintings import MAX_PAINTING_BYTES
from nst_core.training.presets import OF_FAMILIES, presets
from scheduler.cli.exits import ExitCode
from tests.shipped import shipped_style
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api, problem, tenant_json
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


def asked(api: CannedApi) -> Any:
    (request,) = [request for request in api.requests if (request.method, request.path) == ("POST", "/v1/styles")]
    return json.loads(request.body)


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").convert("RGB").save(path)
    return path


def test_without_data_and_steps_the_api_chooses(api: CannedApi, here: Run) -> None:
    here("styles", "train", "s3://nst/night.png", "-n", "night")
    assert not asked(api).keys() & {"family", "preset", "data", "steps", "initial", "sample_every", "held_out"}


def test_a_family_is_sent_by_its_name(api: CannedApi, here: Run) -> None:
    here("styles", "train", "s3://nst/night.png", "-n", "night", "--family", "painters")
    assert asked(api)["family"] == "painters"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["text.png"], ExitCode.LOCAL, "text.png: "),
        (["gone.png"], ExitCode.USAGE, "There is no file or folder gone.png."),
        (["photos"], ExitCode.USAGE, "photos is a folder; one picture is needed."),
        (["small.png"], ExitCode.LOCAL, "small.png: The image is 63 x 100 pixels; each side must have at least 64."),
        (["thin.png"], ExitCode.LOCAL, "thin.png: With a longest side of 640 pixels the painting has 640 x 15; "),
        (
            ["night.png", "--family", "painters", "--stroke", "0.05"],
            ExitCode.LOCAL,
            "night.png: With a longest side of 10 ",
        ),
        (["thin.png", "--set", "style_size_px=600"], ExitCode.LOCAL, "thin.png: With a longest side of 600 pixels"),
        (["night.png", "--set", "style_size_px=15"], ExitCode.USAGE, "--set: style_size_px"),
        (["heavy.png"], ExitCode.LOCAL, "heavy.png: A painting may have at most 67,108,864 bytes."),
        (["night.png", "--data", "night.png"], ExitCode.USAGE, "night.png is a file; --data takes a folder of photos"),
        (["night.png", "--data", "empty"], ExitCode.USAGE, "There are no photos in empty."),
        (["night.png", "--sample", "gone.jpg"], ExitCode.USAGE, "There is no file or folder gone.jpg."),
        (["night.png", *(f"--sample=s3://nst/{n}.jpg" for n in range(9))], ExitCode.USAGE, "takes at most 8 samples"),
        (["night.png", "--preset", "fast"], ExitCode.USAGE, "There is no preset fast; known are standard, norms."),
        (["night.png", "--family", "sculptors"], ExitCode.USAGE, "There is no family sculptors; known are painters."),
        (["night.png", "--name", "my style"], ExitCode.REFUSED, "/name: A new style's name has 1 to 64 letters"),
        (["night.png", "--seed", str(2**63)], ExitCode.REFUSED, "/seed: The number is"),
        (["night.png", "--set", "batchsize=2"], ExitCode.USAGE, "--set: Unknown training config fields: batchsize."),
        (["night.png", "--set", "batch_size=0"], ExitCode.USAGE, "--set: batch_size"),
        (["night.png", "--stroke", "0"], ExitCode.USAGE, "--stroke"),
        (["night.png", "--set", "seed"], ExitCode.USAGE, "--set takes FIELD=VALUE"),
        (["night.png", "--initial", "@1234"], ExitCode.USAGE, "NAME or NAME@VERSION"),
        (["night.png", "--initial", "monet"], ExitCode.REFUSED, "There is no style 'monet'."),
    ],
)
def test_errors_are_reported_before_anything_is_uploaded(
    api: CannedApi,
    here: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: ExitCode,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "night.png")
    picture(tmp_path / "photos" / "a.jpg")
    Image.new("RGB", (63, 100)).save(tmp_path / "small.png")
    Image.new("RGB", (2700, 64)).save(tmp_path / "thin.png")
    with (tmp_path / "heavy.png").open("wb") as file:
        file.truncate(MAX_PAINTING_BYTES + 1)
    (tmp_path / "text.png").write_text("This is no picture.\n" * 20)
    (tmp_path / "empty").mkdir()
    api.on("GET", "/v1/styles/monet", problem(404, "not_found", "There is no style 'monet'."))
    data = [] if "--data" in arguments else ["--data", "photos"]
    name = [] if "--name" in arguments else ["--name", "night"]
    got, out, err = here("styles", "train", *arguments, *name, *data)
    assert (got, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1
    assert not [request for request in api.requests if request.method != "GET"]


@pytest.mark.parametrize(("has_photos", "code"), [(False, ExitCode.USAGE), (True, ExitCode.OK), (None, ExitCode.OK)])
def test_a_training_without_photos_is_refused_before_anything_is_uploaded(
    api: CannedApi, here: Run, tmp_path: Path, has_photos: bool | None, code: ExitCode
) -> None:
    picture(tmp_path / "night.png")
    api.on("GET", "/v1/tenant", Answer(body=tenant_json() | {"training_photos": has_photos}))
    api.on("POST", "/v1/styles", Answer(status=202, body=run_json("queued")))
    got, _, err = here("styles", "train", str(tmp_path / "night.png"), "--name", "night")
    assert (got, bool(api.files)) == (code, code == ExitCode.OK)
    assert ("the scheduler has none of its own (NST_TRAINING_DATA). (usage)" in err) is (code != ExitCode.OK)


@pytest.fixture
def twin() -> Iterator[CannedApi]:
    """An API of the same version of nst."""
    found = [
        {
            "name": preset.name,
            "summary": preset.summary,
            "config": preset.config.to_dict(),
            "families": ["painters"] if preset.name in OF_FAMILIES else [],
        }
        for preset in presets().values()
    ]
    with canned_api() as server:
        server.on("GET", "/v1/training-presets", Answer(body={"data": found}))
        server.on("POST", "/v1/styles", Answer(status=202, body=run_json("queued")))
        yield server


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--family=painters", "--preset=quick"], "--preset: A style of a family is trained with the preset norms or"),
        (["--family=painters", "--initial=none"], "--initial: A style of a family starts as a guess"),
        (["--family=painters", "--set=trained=all", "--set=identity_weight=10"], "--set: Of a style of a family"),
        (["--preset=norms", "--initial=none"], "--initial: If the norms alone learn, the training must begin with"),
        (["--set=network=vgg16_imagenet"], "--set: network must be one of vgg16, "),
        (["--set=network=resnet18"], "--set: style_weights has the layer 'relu1_2', which resnet18 does not have"),
        (["--set=batch_size=64", "--set=size_px=512"], "GiB of memory, and 16 are the most"),
        (["--set=style_crops=10000"], "--set: The training would look at 655 megapixels of its painting"),
        (['--set=transformer={"styles": 2}'], "--set: A run trains one style, so transformer.styles must be 1."),
        (["--set=style_strokes=[2]"], "--set: style_strokes is for networks of several paintings: use stroke"),
    ],
)
def test_what_an_api_of_the_same_version_would_refuse_is_not_uploaded(
    twin: CannedApi, here: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    painting = picture(tmp_path / "night.png")
    code, _, err = here("--url", twin.url, "styles", "train", str(painting), "-n", "night", *arguments)
    assert (code, message in err) == (ExitCode.USAGE, True), err
    assert {request.method for request in twin.requests} == {"GET"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--family=painters", "--set=identity_weight=10"],
        ["--preset=instant", "--set=identity_weight=10"],
        ["--set=identity_weight=10", '--set=transformer={"styles": 2}'],
    ],
)
def test_what_the_api_takes_is_not_refused(twin: CannedApi, here: Run, arguments: list[str]) -> None:
    code, *_ = here("--url", twin.url, "styles", "train", "s3://nst/night.png", "-n", "night", *arguments)
    assert code == ExitCode.OK
    assert asked(twin)["options"]["identity_weight"] == 10


def test_an_api_of_another_version_decides_about_its_families_and_limits(api: CannedApi, here: Run) -> None:
    options = ["--family=painters", "--set=identity_weight=10", "--set=batch_size=64", "--set=size_px=512"]
    assert here("styles", "train", "s3://nst/night.png", "-n", "night", *options)[0] == ExitCode.OK


def test_the_name_of_a_style_that_comes_with_nst_is_refused_before_the_upload(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    painting = picture(tmp_path / "night.png")
    version = version_of(shipped_style("udnie").weights())
    api.on("GET", "/v1/styles/udnie", Answer(body={"name": "udnie", "version": version}))
    code, _, err = here("styles", "train", str(painting), "--name", "udnie")
    assert (code, "'udnie' comes with nst" in err) == (ExitCode.REFUSED, True), err
    assert {request.method for request in api.requests} == {"GET"}


def test_a_style_of_ones_own_may_have_the_name_of_one_that_comes_with_nst(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/styles/udnie", Answer(body={"name": "udnie", "version": "ab" * 32}))
    assert here("styles", "train", "s3://nst/night.png", "--name", "udnie")[0] == ExitCode.OK


def test_a_warning_of_the_api_is_printed(api: CannedApi, here: Run) -> None:
    with canned_api() as other:
        other.on("GET", "/v1/training-presets", Answer(body=PRESETS))
        other.on(
            "POST", "/v1/styles", Answer(status=202, body=run_json("queued", warning="There are only 40 [photos]."))
        )
        command = ["--url", other.url, "styles", "train", "s3://nst/night.png", "-n", "night", "--json"]
        code, out, err = here(*command)
    assert code == ExitCode.OK
    assert json.loads(out)["id"] == RUN_ID
    assert "Warning: There are only 40 [photos].\n" in err


def test_a_refusal_of_the_api_is_exit_code_6(here: Run) -> None:
    with canned_api() as other:
        other.on("GET", "/v1/training-presets", Answer(body=PRESETS))
        errors = [{"pointer": "/data", "detail": "There are no photos."}]
        other.on("POST", "/v1/styles", problem(422, "request_invalid", "There are no photos.", errors=errors))
        code, out, err = here("--url", other.url, "styles", "train", "s3://nst/night.png", "-n", "night")
    assert (code, out) == (ExitCode.REFUSED, "")
    assert err == "nst: error: There are no photos. (/data) (request_invalid)\n"
