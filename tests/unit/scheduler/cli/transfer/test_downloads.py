"""Downloads: names of results, what is fetched again, and what one failure stops."""

import hashlib
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from nst_core.client import Client
from nst_core.client.resources.items import Item, ItemStatus
from nst_core.client.resources.jobs import Counts, InputSummary, Job, JobStatus, ResolvedOutput
from nst_core.errors import ProtocolError
from scheduler.cli.exits import ExitCode
from scheduler.cli.transfer.downloads import Download, local_name
from scheduler.cli.transfer.results import Target
from tests.unit.scheduler.canned_api import Answer, CannedApi, item_json, job_json, problem
from tests.unit.scheduler.cli.conftest import Run
from tests.unit.scheduler.cli.submissions import interrupt, too_many

JOB = Job(
    id="job_1",
    status=JobStatus.SUCCEEDED,
    styles=(),
    input=InputSummary(prefix="s3://nst/in/"),
    output=ResolvedOutput(prefix="s3://nst/out/"),
    counts=Counts(),
    created_at=datetime(2026, 11, 22, tzinfo=UTC),
)


def item(output: str) -> Item:
    return Item(id=0, input="s3://nst/in/a.jpg", style="udnie", status=ItemStatus.SUCCEEDED, output=output)


def picture(number: int) -> bytes:
    return b"picture %d" % number


def prepare(api: CannedApi, count: int, *, names: dict[int, str] | None = None) -> None:
    """Let a finished job have results."""
    rows = []
    for number in range(count):
        data = picture(number)
        name = (names or {}).get(number, f"{number}__great_wave.jpg")
        more: Any = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "output": f"s3://nst/out/{name}"}
        rows.append(item_json(number, **more))
        api.on("GET", f"/v1/jobs/job_1/items/{number}/output", Answer(body=data))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", total=count, succeeded=count)))
    for query in ("limit=200&status=succeeded", "limit=1000"):
        api.on("GET", f"/v1/jobs/job_1/items?{query}", Answer(body={"data": rows}))


def fetched(api: CannedApi) -> list[str]:
    return sorted(request.path.split("/")[5] for request in api.requests if request.path.endswith("/output"))


def test_results_keep_their_folders() -> None:
    assert str(local_name(JOB, item("s3://nst/out/sub/a__udnie.jpg"))) == "sub/a__udnie.jpg"


@pytest.mark.parametrize(
    "output", ["s3://nst/out/../a.jpg", "s3://nst/out//etc/a.jpg", "s3://other/a.jpg", "s3://nst/out/", ""]
)
def test_a_result_never_leads_outside_the_folder(output: str) -> None:
    with pytest.raises(ProtocolError):
        local_name(JOB, item(output))


@pytest.mark.parametrize("stem", ["x" * 251, "写" * 83])
def test_a_name_of_255_bytes_arrives(api: CannedApi, here: Run, tmp_path: Path, stem: str) -> None:
    prepare(api, 2, names={0: f"{stem}.jpg"})
    code, _, err = here("jobs", "results", "job_1", "-o", str(tmp_path / "out"))
    assert (code, "2 images →" in err) == (ExitCode.OK, True)
    assert (tmp_path / "out" / f"{stem}.jpg").read_bytes() == picture(0)
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_existing_results_are_not_fetched_again(api: CannedApi, here: Run, tmp_path: Path) -> None:
    prepare(api, 3)
    command = ("jobs", "results", "job_1", "-o", str(tmp_path))
    assert here(*command)[0] == ExitCode.OK
    api.requests.clear()
    # One that was cut off, and one of the same length with other bytes.
    (tmp_path / "0__great_wave.jpg").write_bytes(b"pict")
    (tmp_path / "2__great_wave.jpg").write_bytes(b"picture !")
    assert here(*command)[0] == ExitCode.OK
    assert fetched(api) == ["0", "2"]
    assert (tmp_path / "2__great_wave.jpg").read_bytes() == picture(2)


def test_an_image_that_fails_does_not_stop_the_others(api: CannedApi, here: Run, tmp_path: Path) -> None:
    prepare(api, 5, names={0: "blocked/a.jpg", 1: "z" * 300 + ".jpg", 2: "..jpg/../b.jpg"})
    (tmp_path / "blocked").write_bytes(b"a file where a folder should be")
    gone = problem(409, "output_replaced", "There is something else now.")
    api._answers["GET", "/v1/jobs/job_1/items/3/output"] = [gone]
    code, _, err = here("jobs", "results", "job_1", "-o", str(tmp_path))
    assert code == ExitCode.PARTIAL
    assert (tmp_path / "4__great_wave.jpg").read_bytes() == picture(4)
    assert "1 image →" in err
    for text in ("blocked/a.jpg cannot be written", "(ENAMETOOLONG)", "(output_replaced)"):
        assert text in err
    assert f"nst --url {api.url} jobs results job_1 -o {tmp_path}" in err


def test_an_image_with_wrong_bytes_is_not_kept(api: CannedApi, here: Run, tmp_path: Path) -> None:
    prepare(api, 2)
    api._answers["GET", "/v1/jobs/job_1/items/0/output"] = [Answer(body=b"something else")]
    assert here("jobs", "results", "job_1", "-o", str(tmp_path))[0] == ExitCode.PARTIAL
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["1__great_wave.jpg"]


def test_results_of_a_running_job_are_written_when_ready(api: CannedApi, here: Run, tmp_path: Path) -> None:
    def seen() -> bool:
        return (tmp_path / "0__great_wave.jpg").exists()

    prepare(api, 2)
    running = job_json("running", total=2, succeeded=1)
    polls: list[bool] = []
    answers = [Answer(body=running, first=lambda: polls.append(seen()))] * 12
    api._answers["GET", "/v1/jobs/job_1"] = [*answers, Answer(body=job_json("succeeded", total=2, succeeded=2))]
    rows = api._answers["GET", "/v1/jobs/job_1/items?limit=200&status=succeeded"][0].body["data"]
    api.on("GET", "/v1/jobs/job_1/items?limit=200", Answer(body={"data": [rows[0], item_json(1, "running")]}))
    code, _, err = here("jobs", "watch", "job_1", "-o", str(tmp_path))
    assert (code, "2 images" in err) == (ExitCode.OK, True)
    assert polls[0] is False
    assert polls[-1] is True
    assert fetched(api) == ["0", "1"]


def test_ctrl_c_ends_a_download_that_waits_for_its_next_try(api: CannedApi, here: Run, tmp_path: Path) -> None:
    def interrupt_later() -> None:
        while not (tmp_path / "1__great_wave.jpg").exists():
            time.sleep(0.05)
        time.sleep(0.3)
        interrupt()

    prepare(api, 2)
    wait = too_many(then=threading.Thread(target=interrupt_later).start)
    api._answers["GET", "/v1/jobs/job_1/items/0/output"] = [wait]
    started = time.monotonic()
    code, _, err = here("jobs", "results", "job_1", "-o", str(tmp_path))
    assert (code, "of 2 images are written." in err) == (ExitCode.INTERRUPTED, True)
    assert time.monotonic() - started < 10
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["1__great_wave.jpg"]


@pytest.mark.parametrize("status", ["running", "succeeded"])
def test_results_of_a_running_job_that_wait_for_their_next_try_hold_up_nothing(
    api: CannedApi, here: Run, tmp_path: Path, status: str
) -> None:
    """Ctrl-C ends the command while the job runs. When the job has ended, its results are fetched with a bar."""
    prepare(api, 1)
    answers = api._answers["GET", "/v1/jobs/job_1/items/0/output"]
    rows = api._answers["GET", "/v1/jobs/job_1/items?limit=200&status=succeeded"][0]
    api.on("GET", "/v1/jobs/job_1/items?limit=200", rows)
    seen = threading.Event()
    answers.insert(0, too_many(then=seen.set))

    def next_poll() -> None:
        if seen.wait(0.2) and status == "running":
            interrupt()

    running = Answer(body=job_json("running", total=1, succeeded=1), first=next_poll)
    api._answers["GET", "/v1/jobs/job_1"] = [running] * 12 + [Answer(body=job_json(status, total=1, succeeded=1))]
    started = time.monotonic()
    code, _, err = here("jobs", "watch", "job_1", "-o", str(tmp_path))
    assert time.monotonic() - started < 15
    if status == "running":
        assert (code, "The job continues." in err) == (ExitCode.INTERRUPTED, True)
    else:
        assert (code, "1 image" in err) == (ExitCode.OK, True)
    assert (tmp_path / "0__great_wave.jpg").exists() is (status == "succeeded")
    assert not list(tmp_path.glob(".nst-*"))


@pytest.mark.parametrize("command", ["results", "watch"])
def test_a_photo_of_the_job_is_only_replaced_on_request(
    api: CannedApi, here: Run, tmp_path: Path, command: str
) -> None:
    prepare(api, 3, names={0: "0.jpg", 1: "Sub/1.jpg", 2: "2.jpg"})
    rows = api._answers["GET", "/v1/jobs/job_1/items?limit=200&status=succeeded"][0].body["data"]
    inputs = ("2.jpg", "sub/1.jpg", "0.png")  # the first result has the name of the last photo
    for row, name in zip(rows, inputs, strict=True):
        row["input"] = f"s3://nst/in/{name}"
    api.on("GET", "/v1/jobs/job_1/items?limit=200", Answer(body={"data": rows}))
    (tmp_path / "Sub").mkdir()
    for name in ("0.jpg", "Sub/1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(b"mine")
    code, _, err = here("jobs", command, "job_1", "-o", str(tmp_path))
    assert code == ExitCode.PARTIAL
    assert {name: (tmp_path / name).read_bytes() for name in ("0.jpg", "Sub/1.jpg", "2.jpg")} == {
        "0.jpg": picture(0),  # no photo of the job is called so
        "Sub/1.jpg": b"mine",  # some file systems do not distinguish upper and lower case
        "2.jpg": b"mine",
    }
    assert err.count("may be a photo of the job: give another folder, or --replace (output_is_input)") == 2
    assert "Retry the rest" not in err
    assert here("jobs", command, "job_1", "-o", str(tmp_path), "--replace")[0] == ExitCode.OK
    assert (tmp_path / "2.jpg").read_bytes() == picture(2)
    # A result that is there already is no reason to ask.
    assert here("jobs", command, "job_1", "-o", str(tmp_path))[0] == ExitCode.OK


def test_a_single_file_that_has_the_name_of_the_photo_is_only_replaced_on_request(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    prepare(api, 1, names={0: "0__great_wave.jpg"})
    photo = tmp_path / "0.jpg"
    photo.write_bytes(b"mine")
    code, _, err = here("jobs", "results", "job_1", "-o", str(photo))
    assert (code, "(output_is_input)" in err, photo.read_bytes()) == (ExitCode.PARTIAL, True, b"mine")
    assert here("jobs", "results", "job_1", "-o", str(photo), "--replace")[0] == ExitCode.OK
    assert photo.read_bytes() == picture(0)


def test_photos_that_a_running_job_gets_later_are_not_replaced_either(api: CannedApi, tmp_path: Path) -> None:
    rows = [item_json(number) | {"input": f"s3://nst/in/{number}.jpg"} for number in range(2)]
    jobs = [Answer(body=job_json(status, total=2)) for status in ("running", "succeeded")]
    api.on("GET", "/v1/jobs/job_1", *jobs)
    api.on(
        "GET", "/v1/jobs/job_1/items?limit=1000", *(Answer(body={"data": rows[: 1 + number]}) for number in range(2))
    )
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(b"mine")
    with Client(api.url, api_key="nst_key") as client:
        download = Download(client=client, job=JOB, target=Target(text="", folder=tmp_path), keeps_names=True)
        assert [download._may_be_photo(tmp_path / f"{number}.jpg") for number in range(3)] == [True, True, False]
