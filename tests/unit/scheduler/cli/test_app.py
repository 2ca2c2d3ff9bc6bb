"""The command line: what it prints where, and its exit codes, against a real HTTP server with prepared answers."""

import json
import time
from pathlib import Path

import pytest

from nst_core import __version__
from scheduler.cli.app import hoisted
from scheduler.cli.exits import ExitCode
from scheduler.local.home import ClientConfig, Home
from scheduler.local.servers import free_port
from tests.unit.scheduler.canned_api import Answer, CannedApi, item_json, job_json, problem
from tests.unit.scheduler.conftest import STYLE, Run


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text.strip()


def test_version(nst: Run) -> None:
    assert nst("version") == (ExitCode.OK, f"nst {__version__}\n", "")


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version_is_an_option_too(nst: Run, option: str) -> None:
    assert nst(option) == (ExitCode.OK, f"nst {__version__}\n", "")


@pytest.mark.parametrize("command", [[], ["jobs"], ["styles"]])
def test_a_command_alone_is_its_help_without_an_error(nst: Run, command: list[str]) -> None:
    code, out, err = nst(*command)
    assert (code, err) == (ExitCode.USAGE, "")
    assert f"Usage: nst {' '.join(command)}".strip() in out


def test_a_usage_error_names_the_help_of_its_own_command(nst: Run) -> None:
    assert nst("jobs", "watch")[2] == "nst: error: Missing argument 'JOB'. See nst jobs watch --help. (usage)\n"
    assert "'lst'. Did you mean 'list'? See nst jobs --help." in nst("jobs", "lst")[2]


def test_address_and_key_may_come_after_the_command(api: CannedApi, nst: Run) -> None:
    assert nst("styles", "list", "--api-key", "nst_key", f"--url={api.url}", "--json")[0] == ExitCode.OK
    assert api.requests[-1].headers["Authorization"] == "Bearer nst_key"
    for words in (
        ["jobs", "show", "--", "--url", "x"],
        ["--home", "h", "webhooks", "update", "w", "--url", "x"],
        ["--url", "a", "--url", "b", "jobs", "list"],
    ):
        assert hoisted(words) == words
    assert hoisted(["--url", "a", "jobs", "list", "--url", "b"]) == ["--url", "a", "--url", "b", "jobs", "list"]


@pytest.mark.parametrize(
    "command",
    [
        *([], ["stylize"], ["optimize"], ["presets"], ["jobs"], ["jobs", "results"], ["styles"], ["styles", "train"]),
        *(["styles", "diff"], ["runs"], ["runs", "fork"], ["up"], ["demo"]),
    ],
)
def test_every_command_has_a_help_page(nst: Run, command: list[str]) -> None:
    code, out, _ = nst(*command, "-h")
    assert code == ExitCode.OK
    assert f"Usage: nst {' '.join(command)}".strip() in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "No such command 'fly'"),
        (["jobs", "list", "--limit", "0"], "--limit"),
        (["stylize", "a.jpg"], "Missing option '--style'"),
        (["optimize", "a.jpg", "b.jpg"], "Missing option '--output'"),
        (["optimize", "a.jpg", "-o", "out"], "the painting last"),
        (["optimize", "a.jpg", "b.jpg", "-o", "out", "--set", "seed"], "--set takes FIELD=VALUE"),
        (["optimize", "a.jpg", "b.jpg", "c.jpg", "-o", "out.png"], "out.png is one file"),
        (["optimize", "folder", "c.jpg", "-o", "out.png"], "out.png is one file"),
        (["optimize", "a.jpg", "c.jpg", "-o", "out.gif"], "out.gif cannot be written"),
        (["jobs", "list"], "No API is known"),
        (["jobs", "list", "--since", "soon"], "is not a duration"),
        (["jobs", "list", "--label", "album"], "--label takes KEY=VALUE"),
        (["jobs", "results", "j", "--zip", "a.zip", "--errors"], "Give only one of"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(nst: Run, arguments: list[str], message: str) -> None:
    code, out, err = nst(*arguments)
    assert (code, out) == (ExitCode.USAGE, "")
    assert one_line(err).startswith("nst: error: ")
    assert message in err


def test_an_api_that_does_not_answer_is_exit_code_5(nst: Run) -> None:
    code, _, err = nst("--url", f"http://127.0.0.1:{free_port()}", "--api-key", "x", "jobs", "list")
    assert code == ExitCode.UNREACHABLE
    assert one_line(err).endswith("(unreachable)")


def test_a_refusal_is_one_line_with_its_code_and_exit_code_6(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/jobs/job_9", problem(404, "not_found", "There is no job [job_9]."))
    code, out, err = here("jobs", "show", "job_9")
    assert (code, out) == (ExitCode.REFUSED, "")
    assert one_line(err) == "nst: error: There is no job [job_9]. (not_found)"


def test_a_folder_that_cannot_be_made_is_exit_code_7(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded")))
    code, _, err = here("jobs", "results", "job_1", "-o", str(tmp_path / "file" / "below"))
    assert code == ExitCode.LOCAL
    assert one_line(err).endswith(f"{tmp_path}/file is a file; a folder cannot be made in it. (output_unusable)")


def test_address_and_key_come_from_the_home_folder(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.locked():
        home.write_client(ClientConfig(url=api.url, api_key="nst_of_home"))
    assert nst("styles", "list")[0] == ExitCode.OK
    assert api.requests[-1].headers["Authorization"] == "Bearer nst_of_home"


def test_the_key_of_the_home_folder_is_not_sent_to_another_address(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.locked():
        home.write_client(ClientConfig(url="http://127.0.0.1:1", api_key="nst_of_home"))
    nst("--url", api.url, "styles", "list")
    assert "Authorization" not in api.requests[-1].headers


def test_styles_are_a_table_or_json(here: Run) -> None:
    code, out, _ = here("styles", "list")
    assert code == ExitCode.OK
    assert "great_wave" in out
    assert "Hokusai" in out
    assert json.loads(here("styles", "list", "--json")[1]) == [STYLE]
    assert "The Great Wave" in here("styles", "show", "great_wave")[1]


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


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("succeeded", ExitCode.OK),
        ("partially_succeeded", ExitCode.PARTIAL),
        ("failed", ExitCode.FAILED),
        ("cancelled", ExitCode.CANCELLED),
        ("expired", ExitCode.CANCELLED),
    ],
)
def test_watch_exits_as_the_job_ended(api: CannedApi, here: Run, status: str, code: ExitCode) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("running")), Answer(body=job_json(status, succeeded=2)))
    assert here("jobs", "watch", "job_1")[0] == code


def test_watch_with_json_writes_the_job_alone_to_the_standard_output(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", succeeded=4)))
    _, out, err = here("jobs", "watch", "job_1", "--json")
    assert json.loads(out)["counts"]["succeeded"] == 4
    assert "job_1 succeeded: 4 of 4" in err


def test_cancel_tells_the_status(api: CannedApi, here: Run) -> None:
    api.on("POST", "/v1/jobs/job_1/cancel", Answer(status=202, body=job_json("cancelling")))
    assert here("jobs", "cancel", "job_1")[:2] == (ExitCode.OK, "cancelling job_1\n")


@pytest.mark.parametrize(("command", "status"), [("pause", "paused"), ("resume", "running"), ("retry", "running")])
def test_steering_tells_the_status(api: CannedApi, here: Run, command: str, status: str) -> None:
    api.on("POST", f"/v1/jobs/mine/{command}", Answer(status=202, body=job_json(status)))
    assert here("jobs", command, "mine")[:2] == (ExitCode.OK, f"{status} job_1\n")


def test_retry_names_codes(api: CannedApi, here: Run) -> None:
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


def test_items_say_that_there_are_more_than_are_listed(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json(total=2300)))
    more = {"data": [item_json(0), item_json(1)], "has_more": True, "last_id": 1}
    api.on("GET", "/v1/jobs/job_1/items?limit=2", Answer(body=more))
    api.on("GET", "/v1/jobs/job_1/items?limit=2&after_id=1", Answer(body={"data": [item_json(2)]}))
    code, out, err = here("jobs", "items", "job_1", "-n", "2", "--json")
    assert (code, len(json.loads(out))) == (ExitCode.OK, 2)
    assert err == "2 images of 2,300: -n sets how many are listed.\n"
    api.on("GET", "/v1/jobs/job_1/items?limit=3", Answer(body={"data": [item_json(0)]}))
    assert here("jobs", "items", "job_1", "-n", "3")[2] == ""


def test_the_word_of_the_list_for_a_status_is_taken(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/jobs?limit=20&status=partially_succeeded", Answer(body={"data": [job_json()]}))
    for word in ("partial", "partially_succeeded"):
        assert "job_1" in here("jobs", "list", "--status", word)[1]
    code, _, err = here("jobs", "list", "--status", "done")
    assert (code, "known are partial, queued" in err) == (ExitCode.USAGE, True)


def test_an_api_that_is_silent_is_said_to_be(api: CannedApi, here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_core.client._sync.transport._SILENCE_S", 0.05)
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded"), first=lambda: time.sleep(0.5)))
    code, _, err = here("jobs", "show", "job_1")
    assert (code, err) == (
        ExitCode.OK,
        f"No answer from {api.url} yet; still trying. Is the API running there (nst up)?\n",
    )


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


def test_tenants_are_a_table_or_json(api: CannedApi, here: Run) -> None:
    usage = {"queued_items": 1234, "unfinished_jobs": 2, "unfinished_runs": 0}
    lab = {"id": "lab", "weight": 2, "read": None, "write": None, "overrides": {}, "limits": {}, "usage": usage}
    api.on("GET", "/v1/tenants?limit=200", Answer(body={"data": [lab], "has_more": False, "last_id": "lab"}))
    assert "1,234" in here("tenants", "list")[1]
    assert json.loads(here("tenants", "list", "--json")[1]) == [lab]


def test_results_are_written_as_a_zip(api: CannedApi, here: Run, tmp_path: Path) -> None:
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
