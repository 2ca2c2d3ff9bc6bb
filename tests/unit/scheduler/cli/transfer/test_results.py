"""The place of the results."""

import os
from pathlib import Path

import pytest

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, item_json, job_json
from tests.unit.scheduler.cli.conftest import Run


@pytest.mark.parametrize("place", ["file", "file/below", "link", "readonly/new"])
def test_an_unwritable_folder_is_reported_before_the_upload(
    api: CannedApi, here: Run, tmp_path: Path, place: str
) -> None:
    (tmp_path / "0.jpg").write_bytes(b"photo")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "readonly").mkdir(mode=0o500)
    if place.startswith("readonly") and os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    code, _, err = here("stylize", str(tmp_path / "0.jpg"), "-s", "great_wave", "-o", str(tmp_path / place))
    assert code == ExitCode.LOCAL
    assert str(tmp_path / place.split("/")[0]) in err
    assert api.requests == []


@pytest.mark.parametrize("command", ["watch", "results"])
@pytest.mark.parametrize(
    ("job", "said"),
    [
        (job_json("queued", total=0), "it is not known yet how many images job_1 has"),
        (job_json("planning", total=1), "it is not known yet how many images job_1 has"),
        (job_json("queued", total=0, input={"count": 2}), "is one file: give one photo"),
        (job_json("running", total=2), "is one file: give one photo"),
    ],
)
def test_a_file_is_refused_unless_the_job_has_one_image(
    api: CannedApi, here: Run, tmp_path: Path, command: str, job: object, said: str
) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job), Answer(body=job_json("succeeded", total=2)))
    code, _, err = here("jobs", command, "job_1", "-o", str(tmp_path / "a.jpg"))
    assert (code, said in err) == (ExitCode.USAGE, True)
    assert list(tmp_path.iterdir()) == []


def test_a_queued_job_of_one_address_is_written_to_a_file(api: CannedApi, here: Run, tmp_path: Path) -> None:
    queued = job_json("queued", total=0, input={"count": 1})
    api.on("GET", "/v1/jobs/job_1", Answer(body=queued), Answer(body=job_json("succeeded", total=1, succeeded=1)))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=succeeded", Answer(body={"data": [item_json(0)]}))
    api.on("GET", "/v1/jobs/job_1/items/0/output", Answer(body=b"picture"))
    code, _, _ = here("jobs", "watch", "job_1", "-o", str(tmp_path / "a.jpg"))
    assert (code, (tmp_path / "a.jpg").read_bytes()) == (ExitCode.OK, b"picture")


def test_a_second_image_never_replaces_the_first_in_its_file(api: CannedApi, here: Run, tmp_path: Path) -> None:
    # A paused job may not have been planned to its end.
    paused = job_json("paused", total=1, succeeded=1)
    api.on("GET", "/v1/jobs/job_1", Answer(body=paused), Answer(body=job_json("succeeded", total=2, succeeded=2)))
    items = Answer(body={"data": [item_json(0), item_json(1)]})
    for query in ("limit=200", "limit=200&status=succeeded"):
        api.on("GET", f"/v1/jobs/job_1/items?{query}", items)
    for number in range(2):
        api.on("GET", f"/v1/jobs/job_1/items/{number}/output", Answer(body=b"picture %d" % number))
    code, _, err = here("jobs", "watch", "job_1", "-o", str(tmp_path / "a.jpg"))
    assert code == ExitCode.PARTIAL
    assert f"cannot be written: {tmp_path}/a.jpg has another image of the job: give a folder." in err
    assert (tmp_path / "a.jpg").read_bytes() in (b"picture 0", b"picture 1")
