"""Which files of the arguments are photos, and their names in the upload."""

import os
import socket
from pathlib import Path

import pytest
from PIL import Image

from scheduler.cli.exits import UsageError
from scheduler.cli.transfer.names import readable
from scheduler.cli.transfer.photos import Found, Left, find_photos, summary
from scheduler.cli.transfer.results import Naming, Target


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def find(*paths: Path, format: str = "keep") -> Found:
    return find_photos(paths, Naming(format=format, styles=("udnie",)))


def names(*paths: Path, format: str = "keep") -> list[str]:
    return [photo.name for photo in find(*paths, format=format).photos]


def left(found: list[Left]) -> dict[str, str]:
    return {readable(each.path.name): each.code for each in found}


def into(folder: Path) -> Target:
    return Target(text=str(folder), folder=folder)


def test_sub_folders_are_searched_and_hidden_files_are_not(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a.png", "notes.txt", ".hidden.jpg", "sub/deep/c.webp", ".git/d.jpg")
    assert names(tmp_path) == ["a.png", "b.JPG", "sub/deep/c.webp"]


def test_files_are_uploaded_without_their_folders(tmp_path: Path) -> None:
    touch(tmp_path, "sub/a.jpg")
    assert names(tmp_path / "sub" / "a.jpg") == ["a.jpg"]


def test_photos_whose_results_differ_in_suffix_keep_their_names(tmp_path: Path) -> None:
    assert names(touch(tmp_path, "a.jpg", "a.png")) == ["a.jpg", "a.png"]


def test_photos_with_the_same_result_get_different_names(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png", "sub/a.jpg")
    assert names(tmp_path, format="jpeg") == ["a.jpg", "a-png.png", "sub/a.jpg"]


def test_the_same_name_from_several_places_is_numbered(tmp_path: Path) -> None:
    folders = [touch(tmp_path / name, "a.jpg") for name in ("x", "y", "z")]
    assert names(*folders) == ["a.jpg", "a-jpg.jpg", "a-jpg-2.jpg"]


def test_names_that_differ_only_in_case_become_different(tmp_path: Path) -> None:
    assert names(touch(tmp_path / "x", "A.jpg"), touch(tmp_path / "y", "a.jpg")) == ["A.jpg", "a-jpg.jpg"]


def test_a_photo_never_has_the_name_of_a_folder_of_the_upload(tmp_path: Path) -> None:
    first, second = touch(tmp_path / "one", "x.jpg"), touch(tmp_path / "two", "x.jpg/y.jpg", "z.jpg/y.jpg")
    third = touch(tmp_path / "three", "z.jpg")
    assert names(first, second, third) == ["x.jpg", "x.jpg-2/y.jpg", "z.jpg/y.jpg", "z-jpg.jpg"]


def test_a_file_that_is_not_a_photo_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(UsageError, match=r"notes[.]txt does not have the name of a photo"):
        find(tmp_path / "notes.txt")
    with pytest.raises(UsageError, match="There is no file or folder"):
        find(tmp_path / "gone.jpg")
    with pytest.raises(UsageError, match="There are no photos in"):
        find(tmp_path)


def test_links_in_a_circle_give_each_photo_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "sub/b.jpg", "other/c.jpg")
    (tmp_path / "sub" / "up").symlink_to("..")
    (tmp_path / "other" / "self").symlink_to(".")
    (tmp_path / "aaa").symlink_to("sub")
    (tmp_path / "absolute").symlink_to(tmp_path)
    (tmp_path / "me").symlink_to("me")
    # Under the names of the real folders, although the link aaa comes first.
    assert names(tmp_path) == ["a.jpg", "other/c.jpg", "sub/b.jpg"]
    assert names(tmp_path, tmp_path / "sub", tmp_path / "a.jpg") == ["a.jpg", "other/c.jpg", "sub/b.jpg"]


def test_a_folder_that_a_link_leads_to_is_searched(tmp_path: Path) -> None:
    album = touch(tmp_path / "album", "x.jpg")
    touch(tmp_path / "in", "a.jpg")
    (tmp_path / "in" / "more").symlink_to(album)
    assert names(tmp_path / "in") == ["a.jpg", "more/x.jpg"]


def test_only_regular_files_are_photos(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "null.png").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.jpg"))
    found = find(tmp_path)
    assert [photo.name for photo in found.photos] == ["a.jpg"]
    assert left(found.skipped) == dict.fromkeys(("pipe.jpg", "null.png", "s.jpg"), "not_a_file")


def test_a_broken_link_fails_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "b.jpg").symlink_to("/nonexistent/x.jpg")
    found = find(tmp_path)
    assert [photo.name for photo in found.photos] == ["a.jpg"]
    assert left(found.failed) == {"b.jpg": "unreadable"}


def test_a_file_above_the_limit_fails_alone_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(bytes(100))
    (tmp_path / "b.jpg").write_bytes(bytes(101))
    found = find_photos([tmp_path], Naming(), most_bytes=100)
    assert [photo.name for photo in found.photos] == ["a.jpg"]
    assert [(each.code, each.message) for each in found.failed] == [("too_large", "has 101 bytes; the limit is 100")]


def test_names_that_a_storage_refuses_are_changed(tmp_path: Path) -> None:
    odd = (b"caf\xe9.jpg", b"a\\b.jpg", b"line\nbreak.jpg", b"tab\t.jpg", b"caf\xe8.jpg", b"\x1b[31mred.jpg")
    for name in odd:
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).touch()
    found = find(tmp_path)
    assert {readable(photo.path.name): photo.name for photo in found.photos} == {
        r"caf\xe8.jpg": "caf_.jpg",
        r"caf\xe9.jpg": "caf_-jpg.jpg",
        "a\\b.jpg": "a_b.jpg",
        r"line\nbreak.jpg": "line_break.jpg",
        r"tab\t.jpg": "tab_.jpg",
        r"\x1b[31mred.jpg": "_[31mred.jpg",
    }


@pytest.mark.parametrize("stem", ["x" * 251, "写" * 83, "y" * 240])
def test_long_names_are_cut_so_that_the_results_names_fit(tmp_path: Path, stem: str) -> None:
    touch(tmp_path, f"{stem}.jpg", f"{stem}.png")
    naming = Naming(format="jpeg", styles=("wreck_of_the_minotaur",), target=into(tmp_path / "out"))
    found = find_photos([tmp_path], naming)
    assert len({photo.name for photo in found.photos}) == 2
    for photo in found.photos:
        [result] = naming.results_of(photo.name, 0)
        assert len(result.name.encode()) <= 255
        assert stem.startswith(photo.name[:70])


def test_photos_without_a_suffix_are_recognized_by_content(tmp_path: Path) -> None:
    picture = Image.new("RGB", (16, 16))
    for name, format in (("noext", "JPEG"), ("Scan 2026.05.01", "PNG"), ("photo.jpg_large", "JPEG")):
        picture.save(tmp_path / name, format)
    (tmp_path / "README").write_text("BMW and other makers")
    found = find(tmp_path)
    assert [photo.name for photo in found.photos] == ["Scan 2026.05.01.png", "noext.jpg", "photo.jpg_large.jpg"]
    assert left(found.skipped) == {"README": "not_a_photo"}


def test_rare_suffixes_are_known_and_other_files_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.jfif", "b.JPE", "c.jif", "d.HEIC", "e.avif", "f.heif", "clip.mov", "IMG.CR2", "x.cr2", "y.cr2")
    found = find(tmp_path)
    assert [photo.name for photo in found.photos] == ["a.jfif", "b.JPE", "c.jif", "d.HEIC", "e.avif", "f.heif"]
    assert summary(found.skipped) == "4 skipped: IMG.CR2, clip.mov, x.cr2, … (3 .cr2, 1 .mov)"
    assert summary(found.skipped[:2]) == "2 skipped: IMG.CR2, clip.mov"


def test_the_folder_of_the_results_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "stylized/a__udnie.jpg", "stylized/deep/b__udnie.jpg")
    (tmp_path / "link").symlink_to("stylized")
    found = find_photos([tmp_path], Naming(styles=("udnie",), target=into(tmp_path / "link")))
    assert [photo.name for photo in found.photos] == ["a.jpg"]
    assert left(found.skipped) == {"stylized": "output_folder"}


def test_results_next_to_their_photos_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a__udnie.jpg", "a__udnie__udnie.jpg", "b__udnie.jpg", "sub/c.png", "sub/c__udnie.png")
    found = find_photos([tmp_path], Naming(styles=("udnie",), target=into(tmp_path)))
    assert [photo.name for photo in found.photos] == ["a.jpg", "b__udnie.jpg", "sub/c.png"]
