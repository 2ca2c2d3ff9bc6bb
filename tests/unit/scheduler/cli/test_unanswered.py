"""A submission whose answer does not come, and the same command afterwards."""

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from nst_core.client import Client, UnreachableError
from nst_core.client.resources.jobs import JobInput, JobRequest
from scheduler.cli.exits import ExitCode
from scheduler.cli.session import Session
from scheduler.cli.unanswered import KEPT_S, submitting
from tests.unit.scheduler.canned_api import Answer, CannedApi, item_json, job_json, problem
from tests.unit.scheduler.canned_runs import PRESETS, RUN_ID, run_json
from tests.unit.scheduler.cli.conftest import Run
from tests.unit.scheduler.cli.submissions import STYLIZE, answer_job, interrupt, photos_in

COMMAND = ("stylize", "s3://nst/in/", *STYLIZE)


def keys(api: CannedApi, path: str = "/v1/jobs") -> list[str]:
    return [each.headers["Idempotency-Key"] for each in api.requests if (each.method, each.path) == ("POST", path)]


def lose(api: CannedApi, path: str = "/v1/jobs") -> None:
    """Let the next submission be interrupted before its answer."""
    api._answers["POST", path].insert(0, Answer(hang_up=True, first=interrupt))


def test_a_command_that_is_repeated_after_ctrl_c_finds_the_job(api: CannedApi, here: Run, tmp_path: Path) -> None:
    command = ("stylize", str(photos_in(tmp_path, "a.jpg")), *STYLIZE)
    answer_job(api, item_json(0))
    lose(api)
    code, _, err = here(*command)
    assert code == ExitCode.INTERRUPTED
    assert "The job may have been submitted: the answer did not come." in err
    assert "Repeat the command within 6 hours to go on with it." in err
    assert f"nst --url {api.url} jobs list" in err
    code, _, err = here(*command)
    assert (code, "goes on with its job" in err) == (ExitCode.OK, True)
    # On purpose, it makes another job.
    code, _, err = here(*command)
    assert (code, "goes on" in err) == (ExitCode.OK, False)
    first, *others = keys(api)
    assert (others[-2] == first, others[-1] == first) == (True, False)


def test_another_command_is_another_job(api: CannedApi, here: Run) -> None:
    answer_job(api, item_json(0))
    lose(api)
    here(*COMMAND)
    for more in (("--strength", "0.5"), ()):
        assert here(*COMMAND, *more)[0] == ExitCode.OK
    first, other, same = (keys(api)[0], *keys(api)[-2:])
    assert (first == same, first == other) == (True, False)


@pytest.mark.parametrize(
    ("answer", "is_kept"),
    [
        (problem(500, "internal", "Something broke."), True),
        (problem(422, "request_invalid", "No."), False),
    ],
)
def test_an_answer_that_says_no_ends_the_submission(api: CannedApi, here: Run, answer: Answer, is_kept: bool) -> None:
    answer_job(api, item_json(0))
    api._answers["POST", "/v1/jobs"].insert(0, answer)
    code, _, err = here(*COMMAND)
    assert (code, "may have been submitted" in err) == (ExitCode.REFUSED, is_kept)
    here(*COMMAND)
    assert (len(set(keys(api))) == 1) is is_kept


@pytest.mark.parametrize("content", ["", "[]", "null", '{"a": 1}', '{"a": ["key", null]}', "\udcff"])
def test_a_damaged_file_of_keys_does_not_matter(api: CannedApi, here: Run, content: str) -> None:
    answer_job(api, item_json(0))
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "nst"
    folder.mkdir(parents=True)
    (folder / "unanswered.json").write_bytes(os.fsencode(content))
    lose(api)
    assert here(*COMMAND)[0] == ExitCode.INTERRUPTED
    assert here(*COMMAND)[0] == ExitCode.OK
    assert len(set(keys(api))) == 1


def test_a_key_is_forgotten_after_some_hours(api: CannedApi, here: Run) -> None:
    answer_job(api, item_json(0))
    lose(api)
    here(*COMMAND)
    file = Path(os.environ["XDG_CACHE_HOME"]) / "nst/unanswered.json"
    assert file.stat().st_mode & 0o077 == 0
    file.write_text(json.dumps({name: [key, at - KEPT_S] for name, (key, at) in json.loads(file.read_text()).items()}))
    here(*COMMAND)
    assert len(set(keys(api))) == 2


def test_without_a_place_for_the_key_the_command_says_where_to_look(api: CannedApi, here: Run) -> None:
    answer_job(api, item_json(0))
    Path(os.environ["XDG_CACHE_HOME"]).write_text("a file")
    lose(api)
    code, _, err = here(*COMMAND)
    assert (code, "Repeat the command" in err) == (ExitCode.INTERRUPTED, False)
    assert "jobs list" in err


def test_a_lost_connection_is_like_ctrl_c(api: CannedApi, here: Run, capfd: pytest.CaptureFixture[str]) -> None:
    request = JobRequest(input=JobInput(prefix="s3://nst/in/"), styles=("great_wave",))

    def key(error: Exception | None = None) -> str:
        submission = submitting(Session(), Client(api.url), request, thing="job", listing="jobs")
        with suppress(UnreachableError), submission as key:
            if error is not None:
                raise error
        return key

    first = key(UnreachableError("It does not respond."))
    assert "Repeat the command within 6 hours" in capfd.readouterr().err
    assert (key() == first, key() == first) == (True, False)


def test_a_job_with_an_id_of_its_own_is_found_by_it(api: CannedApi, here: Run) -> None:
    job = job_json("succeeded", total=1, succeeded=1, client_id="spring")
    api.on("PUT", "/v1/jobs/spring", Answer(hang_up=True, first=interrupt), Answer(body=job))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job))
    code, _, err = here(*COMMAND, "--id", "spring")
    assert (code, "Repeat the command" in err) == (ExitCode.INTERRUPTED, True)
    assert here(*COMMAND, "--id", "spring")[0] == ExitCode.OK


def test_trainings_and_forks_are_found_as_well(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/training-presets", Answer(body=PRESETS))
    api.on("GET", f"/v1/runs/{RUN_ID}", Answer(body=run_json()))
    train = ("styles", "train", "s3://nst/night.png", "-n", "night")
    fork = ("runs", "fork", RUN_ID, "--steps", "900")
    for command, path in ((train, "/v1/styles"), (fork, f"/v1/runs/{RUN_ID}/fork")):
        api.on("POST", path, Answer(status=202, body=run_json("queued")))
        lose(api, path)
        code, _, err = here(*command)
        assert (code, "The run may have been submitted" in err) == (ExitCode.INTERRUPTED, True)
        assert here(*command)[0] == ExitCode.OK
        assert len(set(keys(api, path))) == 1
