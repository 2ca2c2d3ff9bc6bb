"""The input of a job: which arguments are addresses, and which photos results must not replace."""

import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.exits import ExitCode, OutputIsInputError
from scheduler.cli.transfer.inputs import check_not_replaced
from scheduler.cli.transfer.photos import Found, find_photos
from scheduler.cli.transfer.results import Naming, Target, parse_target
from tests.unit.scheduler.canned_api import Answer, CannedApi, item_json, job_json, problem
from tests.unit.scheduler.cli.conftest import Run
from tests.unit.scheduler.cli.submissions import (
    STYLIZE,
    answer_job,
    photos_in,
    prepare_stylize,
    submitted,
    upload_id,
)


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def into(folder: Path) -> Target:
    return Target(text=str(folder), folder=folder)


def find(*paths: Path, format: str = "keep") -> Found:
    return find_photos(paths, Naming(format=format, styles=("udnie",)))


def names(*paths: Path, format: str = "keep") -> list[str]:
    return [photo.name for photo in find(*paths, format=format).photos]


def replaces(photos: Path, naming: Naming, *others: Path) -> bool:
    found = find_photos([photos], naming).photos
    try:
        check_not_replaced([*found, *(find(other).photos[0] for other in others)], found, naming)
    except OutputIsInputError:
        return True
    return False


def test_a_repeated_command_with_an_id_uploads_nothing(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(b"photo")
    prefix = f"s3://nst/uploads/{upload_id(**{'0.jpg': b'photo'})}/"
    first = job_json("running", client_id="spring", input={"prefix": prefix})
    api.on("GET", "/v1/jobs/spring", Answer(body=first))
    api.on("PUT", "/v1/jobs/spring", Answer(body=first))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded")))
    command = ("stylize", str(tmp_path), "-s", "great_wave", "-o", "s3://nst/out/", "--id", "spring")
    code, _, err = here(*command)
    assert (code, "nothing is uploaded" in err) == (ExitCode.OK, True)
    [put] = [request for request in api.requests if request.method in ("PUT", "POST")]
    assert (put.path, json.loads(put.body)["input"]) == ("/v1/jobs/spring", {"prefix": prefix})


def test_a_repeated_command_with_an_id_remembers_photos_that_were_refused(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    folder = photos_in(tmp_path / "in", "a.jpg", "b.jpg")
    place = upload_id(**{"a.jpg": b"a.jpg", "b.jpg": b"b.jpg"})
    api.on("PUT", f"/v1/uploads/{place}/b.jpg", problem(422, "request_invalid", "No."))
    job = job_json("succeeded", total=1, succeeded=1, client_id="spring", input={"prefix": f"s3://nst/{place}/"})
    api.on("GET", "/v1/jobs/spring", problem(404, "not_found", "There is no such job."), Answer(body=job))
    api.on("PUT", "/v1/jobs/spring", Answer(body=job))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job))
    api.on("GET", "/v1/jobs/job_1/items?limit=200", Answer(body={"data": [item_json(0)]}))
    command = ("stylize", str(folder), *STYLIZE, "--id", "spring", "--json")
    code, out, _ = here(*command)
    assert (code, [each["code"] for each in json.loads(out)["not_sent"]]) == (ExitCode.PARTIAL, ["request_invalid"])
    for _ in range(2):
        code, out, err = here(*command)
        assert code == ExitCode.PARTIAL
        assert json.loads(out)["not_sent"] == [
            {
                "file": str(folder / "b.jpg"),
                "code": "not_uploaded",
                "message": "is not in the job, because it could not be uploaded",
            }
        ]
        assert "b.jpg is not in the job" in err
    # The photos of a job are removed some time after its end; then nobody knows any longer which ones there were.
    api.files.clear()
    assert here(*command)[0] == ExitCode.OK


@pytest.mark.parametrize("changed", ["other content", "other name", "one more"])
def test_an_id_of_a_job_with_other_photos_is_refused_before_the_upload(
    api: CannedApi, here: Run, tmp_path: Path, changed: str
) -> None:
    (tmp_path / ("1.jpg" if changed == "other name" else "0.jpg")).write_bytes(
        b"other" if changed == "other content" else b"photo"
    )
    if changed == "one more":
        (tmp_path / "2.jpg").write_bytes(b"another")
    prefix = f"s3://nst/uploads/{upload_id(**{'0.jpg': b'photo'})}/"
    api.on("GET", "/v1/jobs/spring", Answer(body=job_json("succeeded", client_id="spring", input={"prefix": prefix})))
    code, _, err = here("stylize", str(tmp_path), "-s", "great_wave", "-o", "s3://nst/out/", "--id", "spring")
    assert (code, "(job_exists)" in err) == (ExitCode.REFUSED, True)
    assert {request.method for request in api.requests} == {"GET"}


def test_stylize_takes_objects_by_their_addresses(api: CannedApi, here: Run) -> None:
    prepare_stylize(api, job_json("succeeded", total=2, succeeded=2))
    here("stylize", "s3://nst/a.jpg", "s3://nst/b.png", "-s", "great_wave", "-o", "s3://nst/out/")
    assert submitted(api)["input"] == {"uris": ["s3://nst/a.jpg", "s3://nst/b.png"]}


@pytest.mark.parametrize(
    "inputs", [["s3://nst/in/", "photo.jpg"], ["s3://nst/a/", "s3://nst/b/"], ["s3://nst/a.csv"] * 2]
)
def test_stylize_refuses_inputs_that_one_job_cannot_take(here: Run, inputs: list[str]) -> None:
    assert here("stylize", *inputs, "-s", "great_wave", "-o", "out")[0] == ExitCode.USAGE


def test_results_over_their_photos_are_refused_before_the_upload(api: CannedApi, here: Run, tmp_path: Path) -> None:
    folder = photos_in(tmp_path / "in", "a.jpg")
    (tmp_path / "link").symlink_to("in")
    for output, inputs in ((folder, folder), (tmp_path / "link", folder), (folder / "a.jpg", folder / "a.jpg")):
        code, _, err = here("stylize", str(inputs), "-s", "great_wave", "-o", str(output), "--name", "{stem}.{ext}")
        assert (code, "(output_is_input)" in err) == (ExitCode.USAGE, True)
    assert (folder / "a.jpg").read_bytes() == b"a.jpg"
    assert {request.method for request in api.requests} == {"GET"}


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["s3://b/list.JSONL"], {"manifest": "s3://b/list.JSONL"}),
        (["s3://b/list.ndjson"], {"manifest": "s3://b/list.ndjson"}),
        (["s3://b/list.json"], {"manifest": "s3://b/list.json"}),
        (["s3://b/list.csv"], {"manifest": "s3://b/list.csv"}),
        (["s3://b/list.tsv"], {"manifest": "s3://b/list.tsv"}),
        (["s3://b/list.txt"], {"manifest": "s3://b/list.txt"}),
        (["s3://b/list.jsonl.gz"], {"manifest": "s3://b/list.jsonl.gz"}),
        (["s3://b/2026.csv/"], {"prefix": "s3://b/2026.csv/"}),
        (["s3://b/.csv"], {"prefix": "s3://b/.csv/"}),
        (["s3://b/old.gz"], {"prefix": "s3://b/old.gz/"}),
        (["s3://b/a.jfif"], {"uris": ["s3://b/a.jfif"]}),
        (["s3://b/a.HEIC", "s3://b/b.jpe"], {"uris": ["s3://b/a.HEIC", "s3://b/b.jpe"]}),
        (["s3://b/foo.jpg/"], {"prefix": "s3://b/foo.jpg/"}),
    ],
)
def test_an_address_is_a_manifest_an_object_or_a_prefix(
    api: CannedApi, here: Run, inputs: list[str], expected: dict[str, Any]
) -> None:
    answer_job(api, item_json(0))
    assert here("stylize", *inputs, *STYLIZE)[0] == ExitCode.OK
    assert submitted(api)["input"] == expected


def test_results_that_would_replace_photos_are_refused(tmp_path: Path) -> None:
    photos = touch(tmp_path / "in", "a.jpg", "sub/b.png")
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "in" / "c.jpg").symlink_to("a.jpg")

    def naming(template: str, folder: Path) -> Naming:
        return Naming(template=template, styles=("udnie",), target=into(folder))

    assert replaces(photos, naming("{stem}.{ext}", photos))
    assert replaces(photos, naming("{stem}.{ext}", tmp_path / "link"))
    assert replaces(photos, naming("{stem}.{ext}", tmp_path / "in" / "sub" / ".."))
    assert replaces(photos / "sub", naming("{stem}.{ext}", photos / "sub"))
    assert not replaces(photos, naming("{stem}.{ext}", tmp_path / "out"))
    assert not replaces(photos, naming("{stem}__{style}.{ext}", photos))
    touch(tmp_path / "numbers", "000000.jpg")
    assert replaces(tmp_path / "numbers", naming("{index}.{ext}", tmp_path / "numbers"))


def test_one_file_that_is_the_photo_or_the_painting_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "painting.jpg", "other.jpg")
    for name, expected in (("a.jpg", True), ("painting.jpg", True), ("other.jpg", False), ("new.jpg", False)):
        target = parse_target(str(tmp_path / name), [str(tmp_path / "a.jpg")])
        naming = Naming(format="jpeg", styles=("painting",), target=target)
        assert replaces(tmp_path / "a.jpg", naming, tmp_path / "painting.jpg") is expected
