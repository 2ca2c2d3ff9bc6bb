"""`nst jobs`, against a real HTTP server with prepared answers."""

import io
import json
from pathlib import Path

import pytest

from scheduler.cli.exits import ExitCode
from tests.unit.scheduler.canned_api import Answer, CannedApi, item_json, job_json, problem
from tests.unit.scheduler.cli.conftest import Run

GONE = Answer(status=204, body=b"")


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())


def deleted(api: CannedApi) -> list[str]:
    """Return what the API was asked to delete."""
    return [request.path for request in api.requests if request.method == "DELETE"]


def test_jobs_are_a_table_or_json(api: CannedApi, here: Run) -> None:
    jobs = [job_json("partially_succeeded", id="job_2", succeeded=3, failed=1), job_json("queued")]
    api.on("GET", "/v1/jobs?limit=20", Answer(body={"data": jobs}))
    _, out, _ = here("jobs", "list")
    assert "job_2" in out
    assert "4/4 ✗1" in out
    as_json = json.loads(here("jobs", "list", "--json")[1])
    assert [job["status"] for job in as_json] == ["partially_succeeded", "queued"]


def test_a_job_is_shown_with_its_failures(api: CannedApi, here: Run) -> None:
    error = {"code": "image_undecodable", "message": "The data is not an image."}
    failed = [item_json(1, "failed", error=error)]
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("partially_succeeded", succeeded=3, failed=1)))
    api.on("GET", "/v1/jobs/job_1/items?limit=10&status=failed", Answer(body={"data": failed}))
    _, out, _ = here("jobs", "show", "job_1")
    assert "3 succeeded, 1 failed" in out
    assert "✗ 1.jpg  great_wave: The data is not an image. (image_undecodable)" in out


def test_cancel_prints_the_status(api: CannedApi, here: Run) -> None:
    api.on("POST", "/v1/jobs/job_1/cancel", Answer(status=202, body=job_json("cancelling")))
    assert here("jobs", "cancel", "job_1")[:2] == (ExitCode.OK, "cancelling job_1\n")


@pytest.mark.parametrize(("command", "status"), [("pause", "paused"), ("resume", "running"), ("retry", "running")])
def test_pause_resume_and_retry_print_the_status(api: CannedApi, here: Run, command: str, status: str) -> None:
    api.on("POST", f"/v1/jobs/mine/{command}", Answer(status=202, body=job_json(status)))
    assert here("jobs", command, "mine")[:2] == (ExitCode.OK, f"{status} job_1\n")


def test_retry_sends_the_codes(api: CannedApi, here: Run) -> None:
    api.on("POST", "/v1/jobs/job_1/retry", Answer(status=202, body=job_json()))
    assert here("jobs", "retry", "job_1", "--code", "worker_lost", "--cancelled")[0] == ExitCode.OK
    assert json.loads(api.requests[-1].body) == {"codes": ["worker_lost"], "cancelled": True}


def test_jobs_are_listed_by_status_and_label(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/jobs?limit=20&status=paused&metadata.album=spring", Answer(body={"data": [job_json("paused")]}))
    _, out, _ = here("jobs", "list", "--status", "paused", "--label", "album=spring")
    assert "paused" in out


def test_items_are_a_table_or_json(api: CannedApi, here: Run) -> None:
    error = {"code": "worker_lost", "message": "No."}
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json()))
    failed = {"data": [item_json(7, "failed", error=error)]}
    api.on("GET", "/v1/jobs/job_1/items?limit=100&code=worker_lost", Answer(body=failed))
    _, out, _ = here("jobs", "items", "job_1", "--code", "worker_lost")
    assert "7.jpg" in out
    assert "worker_lost" in out
    assert json.loads(here("jobs", "items", "job_1", "--code", "worker_lost", "--json")[1])[0]["id"] == 7


def test_items_note_that_there_are_more(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json(total=2300)))
    more = {"data": [item_json(0), item_json(1)], "has_more": True, "last_id": 1}
    api.on("GET", "/v1/jobs/job_1/items?limit=2", Answer(body=more))
    api.on("GET", "/v1/jobs/job_1/items?limit=2&after_id=1", Answer(body={"data": [item_json(2)]}))
    code, out, err = here("jobs", "items", "job_1", "-n", "2", "--json")
    assert (code, len(json.loads(out))) == (ExitCode.OK, 2)
    assert err == "2 images of 2,300: -n sets how many are listed.\n"
    api.on("GET", "/v1/jobs/job_1/items?limit=3", Answer(body={"data": [item_json(0)]}))
    assert here("jobs", "items", "job_1", "-n", "3")[2] == ""


def test_a_status_may_be_abbreviated_as_in_lists(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/jobs?limit=20&status=partially_succeeded", Answer(body={"data": [job_json()]}))
    for word in ("partial", "partially_succeeded"):
        assert "job_1" in here("jobs", "list", "--status", word)[1]
    code, _, err = here("jobs", "list", "--status", "done")
    assert (code, "known are partial, queued" in err) == (ExitCode.USAGE, True)


def test_one_image_or_its_preview_is_written(api: CannedApi, here: Run, tmp_path: Path) -> None:
    api.on("GET", "/v1/jobs/job_1/items/3/output", Answer(body=b"picture"))
    api.on("GET", "/v1/jobs/job_1/items/3/preview", Answer(body=b"preview"))
    for options, data in (((), b"picture"), (("--preview",), b"preview")):
        code, _, _ = here("jobs", "image", "job_1", "3", "-o", str(tmp_path / "a.jpg"), *options)
        assert (code, (tmp_path / "a.jpg").read_bytes()) == (ExitCode.OK, data)


def test_events_are_printed_as_json_lines(api: CannedApi, here: Run) -> None:
    data = '{"type": "job.completed", "timestamp": "2026-11-22T12:00:00Z", "data": {"id": "job_1"}}'
    stream = f"retry: 3000\n\nid: 17\nevent: job.completed\ndata: {data}\n\n".encode()
    api.on("GET", "/v1/jobs/job_1/events", Answer(body=stream), Answer(status=204, body=b""))
    code, out, _ = here("jobs", "events", "job_1", "--after", "16")
    assert (code, json.loads(out)) == (ExitCode.OK, json.loads(data) | {"id": 17})
    assert [request.headers["Last-Event-ID"] for request in api.requests] == ["16", "17"]


def test_results_are_written_as_a_zip(api: CannedApi, here: Run, tmp_path: Path) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", succeeded=4)))
    api.on("GET", "/v1/jobs/job_1/results.zip", Answer(body=b"PK"))
    code, out, err = here("jobs", "results", "job_1", "--zip", str(tmp_path / "out.zip"))
    assert (code, out, err) == (ExitCode.OK, "", f"→ {tmp_path}/out.zip\n")
    assert (tmp_path / "out.zip").read_bytes() == b"PK"


def test_results_are_printed_or_written(api: CannedApi, here: Run, tmp_path: Path) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", total=1, succeeded=1)))
    api.on("GET", "/v1/jobs/job_1/results", Answer(body=b'{"id": 0}\n'))
    api.on("GET", "/v1/jobs/job_1/errors", Answer(body=b'{"id": 1}\n'))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=succeeded", Answer(body={"data": [item_json(0)]}))
    api.on("GET", "/v1/jobs/job_1/items/0/output", Answer(body=b"picture"))
    assert here("jobs", "results", "job_1")[1] == '{"id": 0}\n'
    assert here("jobs", "results", "job_1", "--errors")[1] == '{"id": 1}\n'
    assert here("jobs", "results", "job_1", "-o", str(tmp_path / "out"))[0] == ExitCode.OK
    assert (tmp_path / "out/sub/0__great_wave.jpg").read_bytes() == b"picture"


@pytest.mark.parametrize("option", ["-o", "--zip"])
@pytest.mark.parametrize(
    ("status", "code", "word"),
    [
        ("partially_succeeded", ExitCode.PARTIAL, "! 1 of 3 images in 1.0 s (1.0 images/s)\n✗ 1.jpg"),
        ("failed", ExitCode.FAILED, "✗ The job failed: Too many images failed. (too_many_failures)\n✗ 1.jpg"),
        ("cancelled", ExitCode.CANCELLED, "✗ Cancelled after 1 of 3 images in 1.0 s (1.0 images/s)\n✗ 1.jpg"),
    ],
)
def test_results_of_a_job_that_did_not_succeed_say_so(
    api: CannedApi, here: Run, tmp_path: Path, option: str, status: str, code: ExitCode, word: str
) -> None:
    error = {"code": "too_many_failures", "message": "Too many images failed."} if status == "failed" else None
    ended = {"finished_at": "2026-11-22T01:00:02Z", "error": error}
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json(status, total=3, succeeded=1, failed=2, **ended)))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=succeeded", Answer(body={"data": [item_json(0)]}))
    api.on("GET", "/v1/jobs/job_1/items?limit=10&status=failed", Answer(body={"data": [item_json(1, "failed")]}))
    api.on("GET", "/v1/jobs/job_1/items/0/output", Answer(body=b"picture"))
    api.on("GET", "/v1/jobs/job_1/results.zip", Answer(body=b"PK"))
    got, out, err = here("jobs", "results", "job_1", option, str(tmp_path / "out"))
    assert (got, out) == (code, "")
    assert f"{tmp_path}/out\n{word}" in err


@pytest.mark.parametrize("status", ["running", "paused"])
def test_results_of_a_job_that_has_not_ended_say_so(api: CannedApi, here: Run, tmp_path: Path, status: str) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json(status, total=10, succeeded=1)))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=succeeded", Answer(body={"data": [item_json(0)]}))
    api.on("GET", "/v1/jobs/job_1/items/0/output", Answer(body=b"picture"))
    code, out, err = here("jobs", "results", "job_1", "-o", str(tmp_path / "out"))
    assert (code, out) == (ExitCode.PARTIAL, "")
    assert err.endswith(f"1 image → {tmp_path}/out\nThe job is still {status}: 1 of 10 images.\n")


def test_a_job_is_deleted_and_its_images_stay(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", succeeded=4)))
    api.on("DELETE", "/v1/jobs/job_1?results=false", GONE)
    code, out, err = here("jobs", "delete", "job_1")
    assert (code, out, err) == (ExitCode.OK, "", "Deleted job_1; kept its 4 images in s3://nst/out/.\n")
    assert json.loads(here("jobs", "delete", "job_1", "--json")[1]) == {
        "id": "job_1",
        "deleted": True,
        "results": False,
    }


def test_a_job_is_deleted_by_the_users_id_with_its_images(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/jobs/spring", Answer(body=job_json("succeeded", succeeded=1, client_id="spring")))
    api.on("DELETE", "/v1/jobs/job_1?results=true", GONE)
    code, _, err = here("jobs", "delete", "spring", "--results")
    assert (code, err) == (ExitCode.OK, "Deleted job_1; its 1 image and reports are removed within minutes.\n")
    assert deleted(api) == ["/v1/jobs/job_1?results=true"]


def test_a_job_that_has_not_ended_is_refused_by_the_api(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("running")))
    api.on("DELETE", "/v1/jobs/job_1?results=false", problem(409, "unfinished", "Job job_1 is running."))
    code, out, err = here("jobs", "delete", "job_1", "--json")
    assert (code, out, err) == (ExitCode.REFUSED, "", "nst: error: Job job_1 is running. (unfinished)\n")


def test_an_image_or_a_zip_file_never_replaces_a_device(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    api.on("GET", "/v1/jobs/job_1/items/0/output", Answer(body=b"picture"))
    assert here("jobs", "image", "job_1", "0", "-o", str(tmp_path / "null"))[0] == ExitCode.OK
    code, _, err = here("jobs", "results", "job_1", "--zip", str(tmp_path / "null"))
    assert (code, "cannot be written to a device or a pipe (EEXIST)" in err) == (ExitCode.LOCAL, True)
    assert (tmp_path / "null").is_symlink()


@pytest.mark.parametrize(
    ("command", "path", "said"),
    [
        (["jobs", "list"], "/v1/jobs?limit=20", "There are no jobs yet."),
        (["jobs", "list", "--label", "x="], "/v1/jobs?limit=20&metadata.x=", "There are no such jobs."),
        (["jobs", "list", "--status", "failed"], "/v1/jobs?limit=20&status=failed", "There are no such jobs."),
        (["jobs", "items", "job_1"], "/v1/jobs/job_1/items?limit=100", "There are no images yet."),
        (
            ["jobs", "items", "job_1", "--style", "x"],
            "/v1/jobs/job_1/items?limit=100&style=x",
            "There are no such images.",
        ),
        (["runs", "list"], "/v1/runs?limit=20", "There are no trainings yet."),
        (["runs", "list", "--name", "x"], "/v1/runs?limit=20&name=x", "There are no such trainings."),
        (["keys", "list"], "/v1/keys?limit=100", "There are no keys."),
        (["keys", "list", "--tenant", "x"], "/v1/keys?limit=100&tenant=x", "There are no such keys."),
        (["webhooks", "deliveries", "w"], "/v1/webhooks/w/deliveries?limit=20", "There are no deliveries."),
        (
            ["webhooks", "deliveries", "w", "--status", "failed"],
            "/v1/webhooks/w/deliveries?limit=20&status=failed",
            "There are no such deliveries.",
        ),
    ],
)
def test_an_empty_list_says_whether_only_the_filter_matches_none(
    api: CannedApi, here: Run, command: list[str], path: str, said: str
) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("planning", total=0)))
    api.on("GET", path, Answer(body={"data": []}))
    assert here(*command)[:2] == (ExitCode.OK, f"{said}\n")
