"""A style of any painting through the command line only: trained, watched, measured, used, extended, forked, moved."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from scheduler.cli.app import run
from scheduler.cli.exits import ExitCode
from scheduler.local.embedded import Stack
from tests.photos import small_photos

Run = Callable[..., tuple[int, str, str]]
#: A network and pictures so small that a step takes almost no time.
TINY = {
    "transformer": {"width": 4, "blocks": 1, "output": "tanh"},
    "size_px": 64,
    "batch_size": 1,
    "style_size_px": 64,
    "content_layer": "relu1_2",
    "style_weights": {"relu1_1": 1.0},
}
STEPS = 12
#: So many files that are not photos that a choice without a look at them would hold out some.
BROKEN = 28


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home folder of a running stack whose worker trains."""
    home = tmp_path_factory.mktemp("home")
    env = {"NST_TRAIN_COMPILE": "false", "NST_CACHE_DIR": str(home / "cache"), "NST_TRAIN_SEGMENT_S": "2"}
    with Stack(home, workers=1, env=env):
        yield home


@pytest.fixture
def nst(home: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command, and returns its exit code, standard output and standard error."""

    def nst(*arguments: str) -> tuple[int, str, str]:
        code = run(["--home", str(home), *arguments])
        sys.stdout.flush()
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return nst


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a painting, and a sub-folder with photos and more files that are not photos."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "photos").mkdir()
    for name, data in small_photos(12).items():
        (folder / "photos" / name).write_bytes(data)
    for number in range(BROKEN):
        (folder / "photos" / f"broken{number}.jpg").write_bytes(b"This is no picture.\n" * 20)
    Image.radial_gradient("L").resize((96, 80)).convert("RGB").save(folder / "painting.png")
    return folder


def read(nst: Run, *arguments: str) -> Any:
    """Run a command that must succeed, and return its JSON."""
    code, out, err = nst(*arguments, "--json")
    assert code == ExitCode.OK, err
    return json.loads(out)


def train(nst: Run, pictures: Path, name: str, *arguments: str) -> Any:
    """Train a style of the painting to its end, and return the run."""
    options = [part for field, value in TINY.items() for part in ("--set", f"{field}={json.dumps(value)}")]
    return read(
        nst,
        *("styles", "train", str(pictures / "painting.png"), "--name", name, "--data", str(pictures / "photos")),
        *("--steps", str(STEPS), "--held-out", "2", "--initial", "none", "--exact", *options, *arguments),
    )


def test_a_painting_becomes_a_style_for_photos(nst: Run, pictures: Path, tmp_path: Path) -> None:
    sample = str(next(path for path in sorted((pictures / "photos").iterdir()) if path.suffix == ".png"))
    told = train(nst, pictures, "night", "--sample", sample, "--sample-every", "6", "--title", "Night")
    assert (told["name"], told["status"]) == ("night", "queued")
    assert "There are only 40 photos" in told["warning"]
    code, _, err = nst("styles", "watch", "night")
    assert code == ExitCode.OK, err
    assert "night is trained after 12 steps" in err
    done = read(nst, "runs", "show", told["id"])
    assert (done["status"], done["step"], done["published"]) == ("succeeded", STEPS, True)
    assert done["photos"]["held_out"] == 2
    assert 1 <= done["photos"]["skipped"] <= BROKEN
    assert (done["evaluation"]["photos"], done["evaluation"]["held_out"]) == (2, 2)
    style = read(nst, "styles", "show", "night")
    assert (style["version"], style["card"]["title"]) == (done["version"], "Night")
    pinned = f"night@{style['version'][:8]}"
    code, _, err = nst("stylize", sample, "--style", pinned, "-o", str(tmp_path / "out"))
    assert code == ExitCode.OK, err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{Path(sample).stem}__night.png"]


def test_the_pictures_of_a_training_can_be_fetched(nst: Run, tmp_path: Path) -> None:
    assert nst("runs", "samples", "night", "-o", str(tmp_path))[0] == ExitCode.OK
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names[-1] == "sheet.jpg"
    assert [name.rpartition("_")[2] for name in names[:-1]] == [f"{step:08d}.jpg" for step in (6, 12)]
    for suffix in ("png", "csv"):
        assert nst("runs", "curve", "night", "-o", str(tmp_path / f"curve.{suffix}"))[0] == ExitCode.OK
    with Image.open(tmp_path / "curve.png") as curve, Image.open(tmp_path / "sheet.jpg") as sheet:
        assert min(*curve.size, *sheet.size) > 100
    lines = (tmp_path / "curve.csv").read_text().splitlines()
    assert [int(line.partition(",")[0]) for line in lines[1:]] == list(range(1, STEPS + 1))


def test_more_steps_make_a_new_version_and_the_old_one_can_be_published_again(nst: Run) -> None:
    before = read(nst, "styles", "show", "night")["version"]
    assert nst("runs", "extend", "night", "--more-steps", "3")[0] == ExitCode.OK
    assert read(nst, "styles", "watch", "night")["step"] == STEPS + 3
    after = read(nst, "styles", "show", "night")["version"]
    assert [each["version"] for each in read(nst, "styles", "versions", "night")] == [after, before]
    assert "training.steps" in nst("styles", "diff", f"night@{before[:8]}", "night")[1]
    assert read(nst, "styles", "publish", f"night@{before}")["version"] == before
    assert read(nst, "styles", "show", "night")["version"] == before


def test_a_fork_is_a_separate_style_once_it_is_published(nst: Run) -> None:
    fork = read(nst, "runs", "fork", "night", "--name", "dusk", "--steps", "4", "--strength", "3", "--no-publish")
    assert fork["parent"]["step"] == STEPS + 3
    code, _, err = nst("styles", "watch", fork["id"])
    assert code == ExitCode.OK, err
    assert f"nst runs publish {fork['id']}" in err
    assert nst("styles", "show", "dusk")[0] == ExitCode.REFUSED
    assert nst("runs", "publish", "dusk")[0] == ExitCode.OK
    assert nst("styles", "show", "dusk")[0] == ExitCode.OK


def test_an_instant_style_joins_a_family_and_can_be_blended_with_its_styles(
    nst: Run, pictures: Path, tmp_path: Path
) -> None:
    small = {"size_px": 64, "batch_size": 1, "style_size_px": 128}
    options = [part for field, value in small.items() for part in ("--set", f"{field}={value}")]
    told = read(
        nst,
        *("styles", "train", str(pictures / "painting.png"), "--name", "spot", "--data", str(pictures / "photos")),
        *("--preset", "instant", "--steps", "2", "--held-out", "1", *options),
    )
    assert (told["family"], told["preset"], told["config"]["trained"]) == ("painters", "instant", "norms")
    code, _, err = nst("styles", "watch", "spot")
    assert code == ExitCode.OK, err
    photo = str(next((pictures / "photos").glob("*.png")))
    code, _, err = nst("stylize", photo, "--style", "spot:0.5,udnie:0.5", "-o", str(tmp_path / "out"))
    assert code == ExitCode.OK, err
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_a_style_is_exported_imported_under_another_name_and_deleted(nst: Run, tmp_path: Path) -> None:
    assert nst("styles", "export", "dusk", "-o", str(tmp_path / "dusk"))[0] == ExitCode.OK
    brought = read(nst, "styles", "import", str(tmp_path / "dusk"), "--name", "evening")
    original = read(nst, "styles", "show", "dusk")
    assert (brought["version"], brought["card"]) == (original["version"], original["card"])
    assert nst("styles", "delete", "evening")[0] == ExitCode.OK
    assert nst("styles", "show", "evening")[0] == ExitCode.REFUSED


def test_a_training_with_too_few_usable_photos_fails_before_its_first_step(
    nst: Run, pictures: Path, tmp_path: Path
) -> None:
    photos = sorted((pictures / "photos").iterdir())
    for path in [*(path for path in photos if "broken" in path.name), photos[-1]]:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    started = train(nst, pictures, "hopeless", "--data", str(tmp_path))
    assert nst("styles", "watch", "hopeless")[0] == ExitCode.FAILED
    failed = read(nst, "runs", "show", started["id"])
    assert (failed["status"], failed["step"], failed["error"]["code"]) == ("failed", 0, "config_invalid")
    assert "Only 1 photo can be used" in failed["error"]["message"]


def test_a_training_is_paused_resumed_and_cancelled(nst: Run, pictures: Path) -> None:
    started = train(nst, pictures, "long", "--steps", "100000")
    assert nst("runs", "pause", "long")[0] == ExitCode.OK
    code, _, err = nst("styles", "watch", "long")
    assert code == ExitCode.CANCELLED
    assert f"nst runs resume {started['id']}" in err
    assert nst("runs", "resume", "long")[0] == ExitCode.OK
    assert nst("runs", "cancel", "long")[0] == ExitCode.OK
    assert nst("styles", "watch", "long")[0] == ExitCode.CANCELLED
    assert read(nst, "runs", "list", "--status", "cancelled")[0]["id"] == started["id"]


@pytest.mark.parametrize(("name", "data"), [("text.png", b"This is no picture.\n" * 20), ("empty.png", b"")])
def test_a_file_that_is_not_a_picture_is_refused_at_once(nst: Run, tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    code, out, err = nst("styles", "train", str(tmp_path / name), "--name", "nothing", "--data", "s3://nst/none/")
    assert (code, out) == (ExitCode.LOCAL, "")
    assert "(image_undecodable)" in err
