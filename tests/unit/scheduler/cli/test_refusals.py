"""What is refused before photos are uploaded for nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from nst_core.client import ApiError, Client
from nst_core.client.resources.jobs import JobInput, JobRequest
from scheduler.cli.exits import ExitCode
from scheduler.cli.refusals import check_request
from tests.unit.scheduler.canned_api import CHECK, Answer, CannedApi, item_json, problem, tenant_json
from tests.unit.scheduler.cli.conftest import Run
from tests.unit.scheduler.cli.submissions import STYLIZE, answer_job, photos_in

REQUEST = JobRequest(input=JobInput(uris=("s3://nst/a.jpg",)), styles=("great_wave",))


def checks(api: CannedApi) -> list[Any]:
    return [json.loads(request.body) for request in api.requests if request.path == CHECK]


def refused(**problem: str) -> Answer:
    return Answer(body={"valid": False, "photos": 0, "items": 0, "failing": 0, "problems": [problem]})


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--max-px", "70000"], ExitCode.REFUSED, "max_px: The number is 65,535 or less. (request_invalid)"),
        (["--id", "job_x"], ExitCode.USAGE, "--id 'job_x': Ids that begin with job_ are given by the scheduler alone."),
        (["--id", "a/b"], ExitCode.USAGE, "--id 'a/b': A job's own id has from 1 to 64 letters"),
        (["--label", "x" * 65 + "=y"], ExitCode.REFUSED, "(request_invalid)"),
    ],
)
def test_wrong_options_are_reported_before_the_upload(
    api: CannedApi, here: Run, tmp_path: Path, options: list[str], code: ExitCode, message: str
) -> None:
    photos = photos_in(tmp_path, "a.jpg")
    got, _, err = here("stylize", str(photos), *STYLIZE, *options)
    assert (got, message in err) == (code, True)
    assert {request.method for request in api.requests} == {"GET"}


def test_what_only_the_api_can_refuse_is_asked_before_the_upload(api: CannedApi, here: Run, tmp_path: Path) -> None:
    photos, mask = photos_in(tmp_path / "in", "a.jpg", "b.jpg"), photos_in(tmp_path, "mask.png") / "mask.png"
    api.on("POST", CHECK, refused(code="forbidden", message="You may not write there.", pointer="/output/prefix"))
    code, _, err = here("stylize", str(photos), *STYLIZE, "--mask", str(mask), "--region", f"great_wave={mask}")
    assert code == ExitCode.REFUSED
    assert "You may not write there. (/output/prefix) (forbidden)" in err
    [asked] = checks(api)
    assert asked["input"] == {"uris": ["s3://nst/up1/a.jpg"]}
    assert asked["mask"] == asked["regions"][0]["mask"] == "s3://nst/up1/mask.png"
    assert api.files == {}


def test_more_images_than_a_job_may_have_are_not_uploaded(api: CannedApi, here: Run, tmp_path: Path) -> None:
    api.on("GET", "/v1/tenant", Answer(body=tenant_json(max_items_per_job=2)))
    code, _, err = here("stylize", str(photos_in(tmp_path, "a.jpg", "b.jpg", "c.jpg")), *STYLIZE)
    assert (code, "A job may have at most 2 images. (/input) (quota_exceeded)" in err) == (ExitCode.REFUSED, True)
    assert api.files == {}


def test_what_is_wrong_with_one_photo_alone_does_not_stop_the_others(api: CannedApi, here: Run, tmp_path: Path) -> None:
    body = {"valid": False, "photos": 1, "items": 1, "failing": 1}
    one = {"code": "output_name_invalid", "message": "The name is too long.", "input": "s3://nst/up1/a.jpg"}
    api.on("POST", CHECK, Answer(body={**body, "problems": [one]}))
    answer_job(api, item_json(0))
    assert here("stylize", str(photos_in(tmp_path, "a.jpg")), *STYLIZE)[0] == ExitCode.OK


def test_photos_that_are_uploaded_already_are_submitted_without_a_question(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    photos = photos_in(tmp_path, "a.jpg")
    answer_job(api, item_json(0))
    for _ in range(2):
        assert here("stylize", str(photos), *STYLIZE)[0] == ExitCode.OK
    assert len(checks(api)) == 1


def test_an_api_that_is_asked_by_many_does_not_hold_up_the_upload(api: CannedApi) -> None:
    api.on("POST", CHECK, problem(429, "rate_limited", "Several dry runs are in progress."))
    with Client(api.url, retries=0) as client:
        check_request(client, REQUEST, photos=1)


def test_another_error_of_the_api_is_raised(api: CannedApi) -> None:
    api.on("POST", CHECK, problem(403, "forbidden", "The key may not submit jobs."))
    with Client(api.url, retries=0) as client, pytest.raises(ApiError, match="may not submit jobs"):
        check_request(client, REQUEST, photos=1)
