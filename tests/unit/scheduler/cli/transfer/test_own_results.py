"""Results that lie among the photos are not photos of the next command."""

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from nst_core.client import Client
from scheduler.cli.exits import ExitCode, OutputIsInputError
from scheduler.cli.transfer.inputs import check_not_replaced
from scheduler.cli.transfer.own_results import EarlierResults, made_by_jobs
from scheduler.cli.transfer.photos import Found, find_photos
from scheduler.cli.transfer.results import Naming, Target
from tests.unit.scheduler.canned_api import Answer, CannedApi, item_json, job_json, problem
from tests.unit.scheduler.cli.conftest import Run
from tests.unit.scheduler.cli.submissions import answer_job, photos_in

KNOWN = ("great_wave", "night_cafe", "udnie", "wave")
DEFAULT = "{stem}__{style}.{ext}"


def paint(
    folder: Path,
    *styles: str,
    template: str = DEFAULT,
    format: str = "keep",
    inputs: Sequence[Path] = (),
    known: Sequence[str] = KNOWN,
    made: bool = True,
) -> Found:
    """Do what a command does with the photos in a folder, where its results go too; each result is an empty file.

    `made` tells whether jobs are known to have made the results.
    """
    naming = Naming(format=format, template=template, styles=styles, target=Target(text=str(folder), folder=folder))

    def results(paths: Collection[Path]) -> Collection[Path]:
        return paths if made else ()

    earlier = EarlierResults(naming, known=known, made=results)
    found = find_photos(inputs or [folder], naming, earlier=earlier)
    check_not_replaced(found.photos, found.photos, naming)
    for index, photo in enumerate(sorted(found.photos, key=lambda photo: photo.name.encode())):
        for result in naming.results_of(photo.name, index):
            result.parent.mkdir(parents=True, exist_ok=True)
            result.touch()
    return found


def names(found: Found) -> list[str]:
    return [photo.path.name for photo in found.photos]


@pytest.mark.parametrize(
    "template",
    [
        DEFAULT,
        "{index}-{style}-{stem}.{ext}",
        "{style}_{stem}{index}.{ext}",
        "{stem}-{style}-{stem}.{ext}",
        "{style}/{stem}.{ext}",
        "{stem}/{index}/{style}.{ext}",
        "{style}-{index}.{ext}",
    ],
)
def test_results_of_any_style_are_no_photos_of_the_next_command(tmp_path: Path, template: str) -> None:
    photos_in(tmp_path, "amber.jpg", "basil.png", "2026000001.jpg")
    photos_in(tmp_path / "sub", "amber.jpg")
    photos = ["2026000001.jpg", "amber.jpg", "basil.png", "amber.jpg"]
    for styles in (["great_wave"], ["udnie"], ["udnie", "great_wave"], ["great_wave-60+udnie-40"], ["night_cafe"]):
        for _ in range(2):
            assert names(paint(tmp_path, *styles, template=template)) == photos


@pytest.mark.parametrize(("first", "second"), [("keep", "jpeg"), ("webp", "keep")])
def test_results_in_another_format_are_no_photos_either(tmp_path: Path, first: str, second: str) -> None:
    photos_in(tmp_path, "amber.png", "basil.jpg")
    for style, format in (("udnie", first), ("night_cafe", second), ("udnie", second)):
        assert names(paint(tmp_path, style, format=format)) == ["amber.png", "basil.jpg"]


def test_a_result_is_known_whatever_number_its_photo_has_now(tmp_path: Path) -> None:
    photos_in(tmp_path, "m.jpg", "n.jpg")
    paint(tmp_path, "udnie", template="{index}-{style}-{stem}.{ext}")
    photos_in(tmp_path, "a.jpg", "b.jpg")
    found = paint(tmp_path, "udnie", template="{index}-{style}-{stem}.{ext}")
    assert names(found) == ["a.jpg", "b.jpg", "m.jpg", "n.jpg"]


@pytest.mark.parametrize(
    ("files", "format"),
    [
        (["q.jpg", "q.png"], "jpeg"),
        (["x.jpg", "x.jpeg", "x.jpe"], "keep"),
        (["IMG.JPG", "img.jpg"], "keep"),
        (["a%2Fb.jpg", "a_2Fb.jpg"], "keep"),
        (["line\nbreak.jpg", "x" * 251 + ".jpg"], "keep"),
        (["a.jpg", "A.jpg", "a-jpg.jpg", "A-JPG.jpg"], "webp"),
    ],
)
@pytest.mark.parametrize("template", [DEFAULT, "{stem}-jpg.{ext}", "{stem}-{style}-{index}.{ext}"])
def test_a_command_can_be_repeated_though_names_were_changed_in_the_upload(
    tmp_path: Path, files: list[str], format: str, template: str
) -> None:
    photos_in(tmp_path, *files)
    first = paint(tmp_path, "great_wave", template=template, format=format)
    assert names(first) == sorted(files)
    for _ in range(2):
        again = paint(tmp_path, "great_wave", template=template, format=format)
        # With the same names, so that the upload and the job are found again.
        assert again.photos == first.photos


def test_results_of_photos_that_were_named_one_by_one_are_recognised(tmp_path: Path) -> None:
    photos_in(tmp_path / "in", "x.jpg")
    photos_in(tmp_path, "x.jpg")
    for style in ("udnie", "great_wave"):
        files = [tmp_path / "in" / "x.jpg", *sorted(tmp_path.glob("*.jpg"))]
        assert len(paint(tmp_path, style, inputs=files).photos) == 2


def test_results_below_a_folder_that_is_a_link_are_recognised(tmp_path: Path) -> None:
    album = photos_in(tmp_path / "album", "x.jpg")
    photos = photos_in(tmp_path / "in", "a.jpg")
    (photos / "more").symlink_to(album)
    for style in ("udnie", "great_wave"):
        assert names(paint(photos, style)) == ["a.jpg", "x.jpg"]
    assert (album / "x__udnie.jpg").exists()


@pytest.mark.parametrize("template", ["{stem}-painted.{ext}", "painted/{stem}.{ext}", "{stem}-{index}.{ext}"])
def test_a_name_without_a_style_is_that_of_a_result_if_a_job_made_it(tmp_path: Path, template: str) -> None:
    photos_in(tmp_path, "a.jpg", "b.png")
    for _ in range(3):
        assert names(paint(tmp_path, "udnie", template=template)) == ["a.jpg", "b.png"]
    # Nobody knows of the job any more. Then they may be photos, which are never replaced.
    if "index" in template:
        found = paint(tmp_path, "udnie", template=template, made=False)
        assert len(found.photos) == 4
    elif "/" not in template:
        with pytest.raises(OutputIsInputError):
            paint(tmp_path, "udnie", template=template, made=False)


def test_results_of_the_usual_names_are_recognised_by_commands_with_other_names(tmp_path: Path) -> None:
    photos_in(tmp_path, "a.jpg")
    paint(tmp_path, "udnie")
    assert names(paint(tmp_path, "udnie", template="{stem}-painted.{ext}", made=False)) == ["a.jpg"]


def test_photos_that_only_look_a_little_like_results_stay(tmp_path: Path) -> None:
    files = ["a.jpg", "a__sunset.jpg", "a__udnie.tif", "b__udnie.jpg", "a_udnie.jpg", "a__udnie-60+sunset-40.jpg"]
    photos_in(tmp_path, *files)
    photos_in(tmp_path / "sub", "a__udnie.png")
    assert sorted(names(paint(tmp_path, "great_wave"))) == sorted([*files, "a__udnie.png"])
    photos_in(tmp_path / "numbers", "000000.jpg", "a.jpg")
    with pytest.raises(OutputIsInputError):
        paint(tmp_path / "numbers", "udnie", template="{index}.{ext}")
    photos_in(tmp_path / "pairs", "a.jpg", "a.png")
    with pytest.raises(OutputIsInputError):
        paint(tmp_path / "pairs", "udnie", template="{stem}.{ext}", format="jpeg")


def test_in_another_folder_a_file_with_the_name_of_a_result_is_a_photo(tmp_path: Path) -> None:
    photos = photos_in(tmp_path / "in", "a.jpg", "a__udnie.jpg")
    naming = Naming(styles=("udnie",), target=Target(text="out", folder=photos_in(tmp_path / "out")))
    assert len(find_photos([photos], naming).photos) == 2


def test_a_file_is_a_result_if_a_job_with_the_same_names_has_its_bytes(api: CannedApi, tmp_path: Path) -> None:
    photos_in(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    output = job_json()["output"]
    jobs = [
        job_json(id="job_1", output=output | {"name": "{stem}-painted.{ext}"}),
        job_json(id="job_2", output=output | {"name": DEFAULT}),
        job_json(id="job_3", output=output | {"name": "{stem}-painted.{ext}"}),
    ]
    api.on("GET", "/v1/jobs?limit=100", Answer(body={"data": jobs}))
    for job, file in (("job_1", "a.jpg"), ("job_2", "b.jpg"), ("job_3", "c.jpg")):
        item = item_json(0, sha256=hashlib.sha256(file.encode()).hexdigest())
        api.on("GET", f"/v1/jobs/{job}/items?limit=1000&status=succeeded", Answer(body={"data": [item]}))
    paths = [*tmp_path.iterdir(), tmp_path / "gone.jpg"]
    with Client(api.url, "nst_key") as client:
        assert made_by_jobs(client, "{stem}-painted.{ext}", paths) == {tmp_path / "a.jpg", tmp_path / "c.jpg"}
        api._answers["GET", "/v1/jobs?limit=100"] = [problem(403, "forbidden", "The key may not.")]
        assert made_by_jobs(client, "{stem}-painted.{ext}", paths) == set()


def test_a_command_says_which_files_it_takes_for_earlier_results(api: CannedApi, here: Run, tmp_path: Path) -> None:
    folder = photos_in(tmp_path / "in", "0.jpg", "0__udnie.jpg", "0__great_wave.jpg", "clip.mov")
    udnie = {"name": "udnie", "version": "cd" * 32, "card": {}}
    listed = api._answers["GET", "/v1/styles?limit=200"][0].body["data"]
    api._answers["GET", "/v1/styles?limit=200"] = [Answer(body={"data": [*listed, udnie]})]
    answer_job(api, item_json(0, output="s3://nst/out/0__great_wave.jpg"))
    code, _, err = here("stylize", str(folder), "-s", "great_wave", "-o", str(folder))
    assert (code, list(api.files)) == (ExitCode.OK, ["up1/0.jpg"])
    assert "1 skipped: clip.mov\n2 left out that look like earlier results: 0__great_wave.jpg, 0__udnie.jpg\n" in err
