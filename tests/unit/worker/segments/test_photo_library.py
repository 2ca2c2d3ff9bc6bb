"""Tests of worker.segments.photo_library."""

import subprocess
import sys
from pathlib import Path

import pytest

from nst_core.errors import ConfigError, DiskError
from nst_core.storage.blobs import BlobStore, BlobUri
from tests.unit.worker.training_kit import TINY, put, soft_picture
from worker.segments.photo_library import PhotoLibrary

CLAIM = """
import sys, time
from pathlib import Path
from worker.segments.photo_library import _claimed
file, folder = _claimed(Path(sys.argv[1]))
print(folder.name, flush=True)
time.sleep(60)
"""


def test_photos_are_kept_for_the_next_worker(blobs: BlobStore, tmp_path: Path) -> None:
    stored = put(blobs, "library/a/0.png", soft_picture(1))
    first = PhotoLibrary(blobs, tmp_path, max_bytes=1 << 20)
    read = first.open("s3://nst/library/a/", TINY).read("0.png")
    first.close()
    later = PhotoLibrary(blobs, tmp_path, max_bytes=1 << 20)
    photos = later.open("s3://nst/library/a/", TINY)
    blobs.delete(BlobUri.parse(stored.uri))
    assert photos.read("0.png") == read
    later.close()
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["photos-0", "photos-0.lock"]


def test_each_worker_on_a_machine_has_its_own_folder_until_it_is_killed(blobs: BlobStore, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", CLAIM, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "photos-0\n"
        put(blobs, "library/b/0.png", soft_picture(1))
        mine = PhotoLibrary(blobs, tmp_path, max_bytes=1 << 20)
        mine.open("s3://nst/library/b/", TINY).read("0.png")
        assert len(list((tmp_path / "photos-1").iterdir())) == 1
        mine.close()
        other.kill()
    again = PhotoLibrary(blobs, tmp_path, max_bytes=1 << 20)
    again.open("s3://nst/library/b/", TINY).read("0.png")
    assert len(list((tmp_path / "photos-0").iterdir())) == 1
    again.close()


def test_files_of_another_user_are_neither_truncated_nor_trusted(blobs: BlobStore, tmp_path: Path) -> None:
    victim = tmp_path / "victim.db"
    victim.write_bytes(b"precious")
    (tmp_path / "cache").mkdir(mode=0o700)
    (tmp_path / "cache" / "photos-0.lock").symlink_to(victim)
    put(blobs, "library/c/0.png", soft_picture(1))
    library = PhotoLibrary(blobs, tmp_path / "cache", max_bytes=1 << 20)
    with pytest.raises(DiskError, match="NST_CACHE_DIR"):
        library.open("s3://nst/library/c/", TINY)
    assert victim.read_bytes() == b"precious"
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(ConfigError, match="Other users may write to"):
        library.open("s3://nst/library/c/", TINY)
    library.close()
