"""`nst stylize` and `nst jobs` with a whole running stack."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from scheduler.cli.app import run
from scheduler.cli.exits import ExitCode
from scheduler.local.embedded import Stack


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home folder of a running stack with one worker."""
    home = tmp_path_factory.mktemp("home")
    with Stack(home, workers=1):
        yield home


def make_photo(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize((80, 64)).convert("RGB").save(path)


def nst(home: Path, capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command and return its exit code and standard output."""
    code = run(["--home", str(home), *arguments])
    sys.stdout.flush()
    return code, capfd.readouterr().out


def test_the_doctor_finds_a_running_stack_healthy(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, text = nst(home, capfd, "doctor", "--json")
    diagnosis = json.loads(text)
    found = {finding["check"]: finding for finding in diagnosis["findings"]}
    assert [each for each in found.values() if each["status"] not in ("ok", "skipped")] == []
    assert (code, diagnosis["ok"], diagnosis["home"]) == (ExitCode.OK, True, str(home))
    assert [name for name, each in found.items() if each["status"] == "skipped"] == ["port_metrics"]
    assert found["redis_database"]["found"] == "A scheduler of this installation uses the database 0."
    assert "The scheduler of this installation listens at" in found["port_api"]["found"]
    assert found["engine"]["found"].startswith("Workers run styles by ")


def test_a_folder_is_stylized_with_every_style_and_only_a_broken_photo_fails(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    for name in ("a.jpg", "a.png", "sub folder/b#ü.jpg"):
        make_photo(photos / name)
    (photos / "broken.jpg").write_bytes(b"no picture")
    styles = [style["name"] for style in json.loads(nst(home, capfd, "styles", "list", "--json")[1])]
    options = [part for style in styles for part in ("--style", style)]
    code, text = nst(home, capfd, "stylize", str(photos), *options, "-o", str(out), "--format", "jpeg", "--json")
    assert code == ExitCode.PARTIAL
    stems = ("a", "a-png", "sub folder/b#ü")
    expected = {f"{stem}__{style}.jpg" for stem in stems for style in styles}
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == expected
    with Image.open(out / f"a__{styles[0]}.jpg") as picture:
        assert picture.size == (80, 64)
    job = json.loads(text)["job"]
    counts = {"succeeded": 3 * len(styles), "failed": len(styles), "total": 4 * len(styles)}
    assert {name: job["counts"][name] for name in counts} == counts
    _, errors = nst(home, capfd, "jobs", "results", job["id"], "--errors")
    assert [json.loads(line)["code"] for line in errors.splitlines()] == ["image_undecodable"] * len(styles)


def test_results_can_stay_in_storage_and_be_fetched_later(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_photo(tmp_path / "in" / "a.png")
    common = ["--style", json.loads(nst(home, capfd, "styles", "list", "--json")[1])[0]["name"], "--json"]
    code, text = nst(home, capfd, "stylize", str(tmp_path / "in"), *common, "-o", "s3://nst/first/")
    assert code == ExitCode.OK
    code, text = nst(home, capfd, "stylize", "s3://nst/first/", *common, "-o", "s3://nst/second/")
    assert code == ExitCode.OK
    result = json.loads(text)
    assert result["images"][0]["output"].startswith("s3://nst/second/a__")
    assert nst(home, capfd, "jobs", "results", result["job"]["id"], "-o", str(tmp_path / "out"))[0] == ExitCode.OK
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".png"]


def test_a_photo_is_optimised_to_look_like_any_picture(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_photo(tmp_path / "photo.jpg")
    Image.radial_gradient("L").resize((64, 64)).convert("RGB").save(tmp_path / "painting.png")
    result = tmp_path / "result.png"
    code, text = nst(
        home,
        capfd,
        *("optimize", str(tmp_path / "photo.jpg"), str(tmp_path / "painting.png"), "-o", str(result), "--json"),
        *("--size", "48", "--iterations", "3", "--set", 'content={"relu2_1": 1}', "--set", 'gram={"relu1_1": 1}'),
    )
    assert code == ExitCode.OK
    job = json.loads(text)["job"]
    assert (job["method"], job["status"], job["optimize"]["config"]["iterations"]) == ("optimize", "succeeded", 3)
    with Image.open(result) as picture:
        assert (picture.format, picture.size) == ("PNG", (48, 38))
    _, lines = nst(home, capfd, "jobs", "results", job["id"])
    assert json.loads(lines)["preset"] == "gatys2016"


def test_results_lie_among_the_photos_and_commands_go_on_with_the_photos(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    named = {
        "{stem}__{style}.{ext}": ("great_wave", "udnie", "udnie", "great_wave"),
        "{index}-{style}-{stem}.{ext}": ("great_wave", "udnie"),
        "{stem}-painted.{ext}": ("great_wave", "great_wave"),
    }
    jobs = []
    for number, (template, styles) in enumerate(named.items()):
        folder = tmp_path / str(number)
        for name in ("q.jpg", "q.png", "x%2Fy.jpg"):
            make_photo(folder / name)
        common = (str(folder), "--format", "jpeg", "-o", str(folder), "--json")
        for style in styles:
            code, text = nst(home, capfd, "stylize", *common, "--name", template, "-s", style)
            assert (code, len(json.loads(text)["images"])) == (ExitCode.OK, 3)
            jobs.append(json.loads(text)["job"])
    # All had the same photos, with the same names, so that only the first command uploaded any.
    assert len({job["input"]["prefix"] for job in jobs}) == 1
    upload = jobs[0]["input"]["prefix"].split("/")[-2]
    assert nst(home, capfd, "uploads", "delete", upload, "--yes")[0] == ExitCode.OK
    assert nst(home, capfd, "stylize", *common, "--name", "{stem}-painted.{ext}", "-s", "udnie")[0] == ExitCode.OK
