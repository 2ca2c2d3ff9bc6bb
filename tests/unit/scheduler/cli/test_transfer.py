"""Names of uploads and downloads, and what is taken for a photo."""

from pathlib import Path

import pytest

from nst_core.errors import ProtocolError
from nst_core.protocol import ItemStatus
from scheduler.cli.exits import UsageError
from scheduler.cli.transfer import find_photos, local_name
from scheduler.domain import Counts, JobInput, JobStatus
from scheduler.resources import Item, Job, Output

JOB = Job(
    id="job_1",
    status=JobStatus.SUCCEEDED,
    styles=(),
    input=JobInput(prefix="s3://nst/in/"),
    output=Output(prefix="s3://nst/out/"),
    counts=Counts(),
)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(paths: list[Path], *, format: str = "keep") -> list[str]:
    return [photo.name for photo in find_photos(paths, format=format)]


def test_folders_are_searched_to_the_bottom_for_photos_that_are_not_hidden(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a.png", "notes.txt", ".hidden.jpg", "sub/deep/c.webp", ".git/d.jpg")
    assert names([tmp_path]) == ["a.png", "b.JPG", "sub/deep/c.webp"]


def test_files_keep_their_name_alone(tmp_path: Path) -> None:
    touch(tmp_path, "sub/a.jpg")
    assert names([tmp_path / "sub" / "a.jpg"]) == ["a.jpg"]


def test_photos_whose_results_differ_in_suffix_keep_their_names(tmp_path: Path) -> None:
    assert names([touch(tmp_path, "a.jpg", "a.png")]) == ["a.jpg", "a.png"]


def test_photos_whose_results_would_be_the_same_file_get_names_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png", "sub/a.jpg")
    assert names([tmp_path], format="jpeg") == ["a.jpg", "a-png.png", "sub/a.jpg"]


def test_the_same_name_from_several_places_is_numbered(tmp_path: Path) -> None:
    folders = [touch(tmp_path / name, "a.jpg") for name in ("x", "y", "z")]
    assert names(folders) == ["a.jpg", "a-jpg.jpg", "a-jpg-2.jpg"]


def test_names_that_differ_in_case_only_are_told_apart(tmp_path: Path) -> None:
    assert names([touch(tmp_path / "x", "A.jpg"), touch(tmp_path / "y", "a.jpg")]) == ["A.jpg", "a-jpg.jpg"]


def test_what_is_no_photo_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(UsageError, match="no image by its suffix"):
        find_photos([tmp_path / "notes.txt"], format="keep")
    with pytest.raises(UsageError, match="There is no file or folder"):
        find_photos([tmp_path / "gone.jpg"], format="keep")
    with pytest.raises(UsageError, match="There are no photos in"):
        find_photos([tmp_path], format="keep")


def item(output: str) -> Item:
    return Item(id=0, input="s3://nst/in/a.jpg", style="udnie", status=ItemStatus.SUCCEEDED, output=output)


def test_results_keep_their_folders() -> None:
    assert str(local_name(JOB, item("s3://nst/out/sub/a__udnie.jpg"))) == "sub/a__udnie.jpg"


@pytest.mark.parametrize(
    "output", ["s3://nst/out/../a.jpg", "s3://nst/out//etc/a.jpg", "s3://other/a.jpg", "s3://nst/out/", ""]
)
def test_a_result_never_leads_outside_the_folder(output: str) -> None:
    with pytest.raises(ProtocolError):
        local_name(JOB, item(output))
