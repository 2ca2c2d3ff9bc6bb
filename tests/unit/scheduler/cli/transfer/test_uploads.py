"""Uploads of photos, which continue where they were interrupted."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, item_json, problem, tenant_json, upload_json
from tests.unit.scheduler.cli.conftest import Run
from tests.unit.scheduler.cli.submissions import (
    STYLIZE,
    answer_job,
    interrupt,
    photos_in,
    too_many,
    upload_id,
)


def test_photos_that_cannot_be_sent_fail_alone_and_are_named(api: CannedApi, here: Run, tmp_path: Path) -> None:
    folder = photos_in(tmp_path / "in", "a.jpg", "big.jpg", "clip.mov")
    (folder / "broken.jpg").symlink_to("/nonexistent/x.jpg")
    (folder / "big.jpg").write_bytes(bytes(1000))
    limits = tenant_json()
    limits["limits"]["max_upload_bytes"] = 999
    api.on("GET", "/v1/tenant", Answer(body=limits))
    answer_job(api, item_json(0, input="s3://nst/up1/a.jpg"))
    code, out, err = here("stylize", str(folder), *STYLIZE, "--json")
    assert code == ExitCode.PARTIAL
    assert api.files == {"up1/a.jpg": b"a.jpg"}
    assert "1 skipped: clip.mov" in err
    # Before the first byte, and again at the end.
    assert err.count("big.jpg has 1,000 bytes; the limit is 999 (too_large)") == 2
    result = json.loads(out)
    assert {Path(each["file"]).name: each["code"] for each in result["not_sent"]} == {
        "big.jpg": "too_large",
        "broken.jpg": "unreadable",
    }
    assert [each["code"] for each in result["skipped"]] == ["not_a_photo"]
    assert [image["photo"] for image in result["images"]] == [str(folder / "a.jpg")]


def test_a_photo_that_vanishes_or_is_refused_during_the_upload_fails_alone(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    folder = photos_in(tmp_path / "in", "a.jpg", "b.jpg", *(f"c{number}.jpg" for number in range(20)))
    api.on_file = lambda name: (folder / "c9.jpg").unlink(missing_ok=True)
    answer_job(api, item_json(0, input="s3://nst/up1/a.jpg"))
    code, _, err = here("stylize", str(folder), *STYLIZE)
    assert code == ExitCode.PARTIAL
    assert "c9.jpg cannot be read: No such file or directory (unreadable)" in err
    assert "up1/a.jpg" in api.files


@pytest.mark.parametrize("size_bytes", [0, 33_000_000])
def test_a_photo_that_is_written_to_during_its_upload_fails_alone(
    api: CannedApi, here: Run, tmp_path: Path, size_bytes: int
) -> None:
    folder = photos_in(tmp_path / "in", "a.jpg", "b.jpg")
    os.truncate(folder / "b.jpg", 32_000_000)  # more than a connection holds while the server does not read

    def change(path: str) -> None:
        if path.endswith("/b.jpg"):
            os.truncate(folder / "b.jpg", size_bytes)

    api.on_head = change
    answer_job(api, item_json(0, input="s3://nst/up1/a.jpg"))
    code, _, err = here("stylize", str(folder), *STYLIZE)
    assert code == ExitCode.PARTIAL
    assert "b.jpg cannot be read: it was changed while it was sent (unreadable)" in err
    assert api.files == {"up1/a.jpg": b"a.jpg"}


def test_a_name_that_is_not_utf_8_is_uploaded_under_another_name(api: CannedApi, here: Run, tmp_path: Path) -> None:
    photo = Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.jpg"))
    photo.write_bytes(b"photo")
    answer_job(api, item_json(0, input="s3://nst/up1/caf_.jpg"))
    code, out, _ = here("stylize", str(tmp_path), *STYLIZE, "--json")
    assert (code, api.files) == (ExitCode.OK, {"up1/caf_.jpg": b"photo"})
    assert os.fsencode(json.loads(out)["images"][0]["photo"]) == os.fsencode(photo)


def test_a_repeated_command_after_ctrl_c_continues_the_upload(api: CannedApi, here: Run, tmp_path: Path) -> None:
    folder = photos_in(tmp_path / "in", *(f"{number:02}.jpg" for number in range(60)))
    answer_job(api, item_json(0))
    stored: list[str] = []

    def note(name: str) -> None:
        stored.append(name)
        if len(stored) == 20:
            interrupt()
        if len(stored) >= 20:
            time.sleep(0.5)  # also on a busy machine, the command hears of it before all photos are stored

    api.on_file = note
    code, _, err = here("stylize", str(folder), *STYLIZE)
    assert (code, "no job was submitted" in err) == (ExitCode.INTERRUPTED, True)
    assert 20 <= len(stored) < 60
    first, stored[:] = set(stored), ["already", "counted"] * 100
    code, _, err = here("stylize", str(folder), *STYLIZE)
    assert (code, f"{len(first)} of 60 photos are already uploaded" in err) == (ExitCode.OK, True)
    again = stored[200:]
    assert (len(again), set(again) & first) == (60 - len(first), set())
    assert len(api.files) == 60


def test_ctrl_c_ends_an_upload_that_waits_for_its_next_try(api: CannedApi, here: Run, tmp_path: Path) -> None:
    folder = photos_in(tmp_path, "a.jpg")
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"")
    path = f"/v1/uploads/{upload_id(**{'a.jpg': b'', 'b.jpg': b''})}/a.jpg"
    api.on("PUT", path, too_many(then=lambda: threading.Timer(0.3, interrupt).start()))
    started = time.monotonic()
    code, _, err = here("stylize", str(folder), *STYLIZE)
    assert (code, "no job was submitted" in err) == (ExitCode.INTERRUPTED, True)
    assert time.monotonic() - started < 10


def test_an_error_ends_an_upload_of_which_a_part_waits(api: CannedApi, here: Run, tmp_path: Path) -> None:
    folder = photos_in(tmp_path, "a.jpg", "b.jpg")
    place = f"/v1/uploads/{upload_id(**{'a.jpg': b'a.jpg', 'b.jpg': b'b.jpg'})}"
    api.on("PUT", f"{place}/a.jpg", too_many())
    api.on("PUT", f"{place}/b.jpg", problem(403, "forbidden", "The key was revoked."))
    started = time.monotonic()
    code, _, err = here("stylize", str(folder), *STYLIZE)
    assert (code, "The key was revoked." in err) == (ExitCode.REFUSED, True)
    assert time.monotonic() - started < 10


@pytest.mark.usefixtures("at_once")
def test_an_outage_during_the_upload_says_how_to_go_on(api: CannedApi, here: Run, tmp_path: Path) -> None:
    folder = photos_in(tmp_path / "in", "a.jpg")
    dead = problem(503, "blob_unavailable", "The storage does not answer.")
    api.on("PUT", f"/v1/uploads/{upload_id(**{'a.jpg': b'a.jpg'})}/a.jpg", dead)
    code, _, err = here("stylize", str(folder), *STYLIZE)
    assert code == ExitCode.UNREACHABLE
    assert "Stopped during the upload; no job was submitted.\nRepeat the command to continue the upload.\n" in err
    assert err.endswith("nst: error: The storage does not answer. (blob_unavailable)\n")


def test_a_changed_photo_is_uploaded_again(api: CannedApi, here: Run, tmp_path: Path) -> None:
    answer_job(api, item_json(0))
    for content in (b"first", b"other", b"first"):
        photos_in(tmp_path, "a.jpg")
        (tmp_path / "a.jpg").write_bytes(content)
        here("stylize", str(tmp_path), *STYLIZE)
    assert api.files == {"up1/a.jpg": b"first", "up2/a.jpg": b"other"}
    jobs = [json.loads(r.body)["input"]["prefix"] for r in api.requests if (r.method, r.path) == ("POST", "/v1/jobs")]
    assert jobs == ["s3://nst/up1/", "s3://nst/up2/", "s3://nst/up1/"]


def test_files_of_an_upload_are_listed_with_few_requests(api: CannedApi, here: Run, tmp_path: Path) -> None:
    folder = photos_in(tmp_path / "in", "a.jpg", "b.jpg")
    answer_job(api, item_json(0))
    for _ in range(2):
        api.requests.clear()
        assert here("stylize", str(folder), *STYLIZE)[0] == ExitCode.OK
        listings = [request.path.partition("?")[2] for request in api.requests if "/files?" in request.path]
        assert listings == ["limit=999"]


def test_photos_of_an_upload_that_is_being_deleted_are_sent_when_it_is_gone(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    folder = photos_in(tmp_path / "in", "a.jpg")
    place = upload_id(**{"a.jpg": b"a.jpg"})
    deleted = problem(409, "conflict", f"{place} is being deleted; create another one, or wait until it is gone.")
    made = Answer(body=upload_json(place, "s3://nst/up1/"))
    api.on("PUT", f"/v1/uploads/{place}", deleted, deleted, made)
    answer_job(api, item_json(0, input="s3://nst/up1/a.jpg"))
    code, _, err = here("stylize", str(folder), *STYLIZE)
    assert (code, api.files) == (ExitCode.OK, {"up1/a.jpg": b"a.jpg"})
    assert err.count("An upload of the same photos was deleted; waiting until its last files are removed.") == 1


def test_an_upload_that_stays_is_waited_for_only_so_long(
    api: CannedApi, here: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.cli.transfer.uploads._DELETED_MOST_S", 1.0)
    folder = photos_in(tmp_path / "in", "a.jpg")
    api.on("PUT", f"/v1/uploads/{upload_id(**{'a.jpg': b'a.jpg'})}", problem(409, "conflict", "It is being deleted."))
    code, _, err = here("stylize", str(folder), *STYLIZE)
    assert (code, err.endswith("It is being deleted. (conflict)\n")) == (ExitCode.REFUSED, True)
