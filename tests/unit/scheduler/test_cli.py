"""The command line: what it prints where, and its exit codes, against a real HTTP server with prepared answers."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nst_core import __version__
from scheduler.cli import app, run
from scheduler.cli.exits import ExitCode
from scheduler.home import ClientConfig, Home
from scheduler.servers import free_port
from tests.photos import small_photos
from tests.unit.scheduler.canned_api import Answer, CannedApi, canned_api, item_json, job_json, problem

PRESET = {
    "name": "gatys2016",
    "summary": "content + gram; L-BFGS, 500 iterations, 512 px",
    "config": {"iterations": 500, "size_px": 512, "color": "style"},
}
Run = Callable[..., tuple[int, str, str]]
STYLE = {"name": "great_wave", "version": "ab" * 32, "card": {"title": "The Great Wave", "artist": "Hokusai"}}


@pytest.fixture
def api() -> Iterator[CannedApi]:
    with canned_api() as server:
        server.on("GET", "/v1/styles", Answer(body={"data": [STYLE]}))
        server.on("GET", "/v1/styles/great_wave", Answer(body=STYLE))
        yield server


@pytest.fixture
def nst(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command with an empty home; returns its exit code, standard output and standard error."""
    monkeypatch.delenv("NST_URL", raising=False)
    monkeypatch.delenv("NST_API_KEY", raising=False)
    monkeypatch.setenv("NST_HOME", str(tmp_path / "home"))

    def nst(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        sys.stdout.flush()
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return nst


@pytest.fixture
def here(api: CannedApi, nst: Run) -> Run:
    """Runs a command for the prepared API."""
    return lambda *arguments: nst("--url", api.url, "--api-key", "nst_key", *arguments)


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text.strip()


def test_version(nst: Run) -> None:
    assert nst("version") == (ExitCode.OK, f"nst {__version__}\n", "")


def test_every_command_says_what_it_does() -> None:
    for group in (app, *(info.typer_instance for info in app.registered_groups)):
        assert group is not None
        for command in group.registered_commands:
            assert command.callback is not None
            assert (command.callback.__doc__ or "").strip().endswith("."), command.callback


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
        (["jobs", "list", "--since", "soon"], "no length of time"),
        (["jobs", "list", "--label", "album"], "--label takes KEY=VALUE"),
        (["jobs", "results", "j", "--zip", "a.zip", "--errors"], "Give one of"),
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
    assert one_line(err).endswith("(ENOTDIR)")


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


def test_results_are_written_as_a_zip(api: CannedApi, here: Run, tmp_path: Path) -> None:
    api.on("GET", "/v1/jobs/job_1/results.zip", Answer(body=b"PK"))
    code, out, err = here("jobs", "results", "job_1", "--zip", str(tmp_path / "out.zip"))
    assert (code, out, err) == (ExitCode.OK, "", f"→ {tmp_path}/out.zip\n")
    assert (tmp_path / "out.zip").read_bytes() == b"PK"


def test_stylize_tells_what_it_would_do(api: CannedApi, here: Run) -> None:
    check = {"valid": True, "photos": 3, "items": 3, "failing": 1, "estimated_s": 90.0}
    api.on("POST", "/v1/jobs?validate=true", Answer(body=check))
    code, out, _ = here("stylize", "s3://nst/in/", "-s", "great_wave", "-o", "s3://nst/out/", "--dry-run")
    assert code == ExitCode.OK
    assert "3 photos, 2 images, 1 would fail at once, about 1:30" in out


def test_a_dry_run_of_photos_of_this_machine_reads_them_and_uploads_none(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    for name, data in zip(("a.png", "sub/b.png"), small_photos(2).values(), strict=True):
        (tmp_path / name).write_bytes(data)
    (tmp_path / "half.png").write_bytes(data[: len(data) // 2])
    api.on("POST", "/v1/uploads", Answer(status=201, body={"id": "upl_1", "prefix": "s3://nst/up/"}))
    problem = {"code": "output_name_taken", "message": "Taken.", "input": "s3://nst/up/sub/b.png"}
    check = {"valid": True, "photos": 2, "items": 2, "failing": 1, "problems": [problem], "estimated_s": 90.0}
    api.on("POST", "/v1/jobs?validate=true", Answer(body=check))
    code, out, _ = here("stylize", str(tmp_path), "-s", "great_wave", "-o", "out", "--dry-run", "--json")
    found = json.loads(out)
    assert (code, found["valid"], found["photos"], found["failing"]) == (ExitCode.OK, True, 3, 2)
    assert [(each["code"], each["input"]) for each in found["problems"]] == [
        ("output_name_taken", str(tmp_path / "sub/b.png")),
        ("image_undecodable", str(tmp_path / "half.png")),
    ]
    body = json.loads(api.requests[-1].body)
    assert body["input"] == {"uris": ["s3://nst/up/a.png", "s3://nst/up/sub/b.png"]}
    assert not any(request.method == "PUT" for request in api.requests)


def test_a_dry_run_of_more_photos_than_a_request_may_name_asks_several_times(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    [photo] = small_photos(1, side_px=16).values()
    for number in range(1001):
        (tmp_path / f"{number:04}.png").write_bytes(photo)
    api.on("POST", "/v1/uploads", Answer(status=201, body={"id": "upl_1", "prefix": "s3://nst/up/"}))
    whole = {"valid": True, "photos": 1000, "items": 1000, "failing": 0, "estimated_s": 100.0}
    rest = {"valid": True, "photos": 1, "items": 1, "failing": 0, "estimated_s": 0.5}
    refused = {"valid": False, "photos": 0, "items": 0, "failing": 0, "problems": [{"code": "x", "message": "No."}]}
    api.on("POST", "/v1/jobs?validate=true", *(Answer(body=body) for body in (whole, rest, whole, refused)))
    arguments = ("stylize", str(tmp_path), "-s", "great_wave", "-o", "out", "--dry-run")
    code, out, _ = here(*arguments)
    assert (code, "1,001 photos, 1,001 images, about 1:4" in out) == (ExitCode.OK, True)
    code, out, _ = here(*arguments)
    assert (code, "No. (x)" in out) == (ExitCode.FAILED, True)


def test_stylize_takes_an_id_and_limits(api: CannedApi, here: Run) -> None:
    api.on("PUT", "/v1/jobs/spring", Answer(status=202, body=job_json("queued")))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", succeeded=4)))
    options = ("--id", "spring", "--expires-after", "2h", "--priority", "low", "--label", "album=spring")
    code, _, _ = here("stylize", "s3://nst/in/", "-s", "great_wave", "-o", "s3://nst/out/", *options)
    assert code == ExitCode.OK
    body = next(json.loads(request.body) for request in api.requests if request.method == "PUT")
    assert (body["expires_after_s"], body["priority"], body["metadata"]) == (7200, "low", {"album": "spring"})


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


def prepare_stylize(api: CannedApi, job: Any) -> None:
    api.on("POST", "/v1/uploads", Answer(status=201, body={"id": "upl_1", "prefix": "s3://nst/in/"}))
    for name in ("0.jpg", "sub/1.jpg"):
        api.on("PUT", f"/v1/uploads/upl_1/{name}", Answer(status=201, body={"uri": f"s3://nst/in/{name}"}))
    api.on("POST", "/v1/jobs", Answer(status=202, body=job_json("queued", total=0)))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job))
    api.on("GET", "/v1/jobs/job_1/items?limit=200", Answer(body={"data": [item_json(0), item_json(1, "failed")]}))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=succeeded", Answer(body={"data": [item_json(0)]}))
    api.on("GET", "/v1/jobs/job_1/items?limit=10&status=failed", Answer(body={"data": [item_json(1, "failed")]}))
    api.on("GET", "/v1/jobs/job_1/items/0/output", Answer(body=b"picture"))


def submitted(api: CannedApi) -> Any:
    return next(json.loads(r.body) for r in api.requests if (r.method, r.path) == ("POST", "/v1/jobs"))


def test_stylize_uploads_submits_and_downloads(api: CannedApi, here: Run, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    (photos / "sub").mkdir(parents=True)
    (photos / "0.jpg").write_bytes(b"photo 0")
    (photos / "sub/1.jpg").write_bytes(b"photo 1")
    prepare_stylize(api, job_json("partially_succeeded", total=2, succeeded=1, failed=1))
    code, stdout, err = here(
        "stylize", str(photos), "-s", "great_wave", "-o", str(out), "--json", "--strength", "0.5", "--max-px", "800"
    )
    assert code == ExitCode.PARTIAL
    assert {r.path: r.body for r in api.requests if r.method == "PUT"} == {
        "/v1/uploads/upl_1/0.jpg": b"photo 0",
        "/v1/uploads/upl_1/sub/1.jpg": b"photo 1",
    }
    request = submitted(api)
    assert request["input"] == {"prefix": "s3://nst/in/"}
    assert (request["strength"], request["output"]["max_px"], request["output"]["prefix"]) == (0.5, 800, None)
    images = json.loads(stdout)["images"]
    assert [image["file"] for image in images] == [str(out / "sub/0__great_wave.jpg"), None]
    assert (out / "sub/0__great_wave.jpg").read_bytes() == b"picture"
    assert "1 of 2 images" in err


def test_stylize_into_storage_downloads_nothing(api: CannedApi, here: Run) -> None:
    prepare_stylize(api, job_json("succeeded", total=1, succeeded=1))
    code, _, err = here("stylize", "s3://nst/in", "-s", "great_wave", "-o", "s3://nst/out/")
    assert code == ExitCode.OK
    assert submitted(api)["input"] == {"prefix": "s3://nst/in/"}
    assert submitted(api)["output"]["prefix"] == "s3://nst/out/"
    assert "→ s3://nst/out/" in err
    assert not [request for request in api.requests if request.path.endswith("/output")]


def test_stylize_takes_objects_by_their_addresses(api: CannedApi, here: Run) -> None:
    prepare_stylize(api, job_json("succeeded", total=2, succeeded=2))
    here("stylize", "s3://nst/a.jpg", "s3://nst/b.png", "-s", "great_wave", "-o", "s3://nst/out/")
    assert submitted(api)["input"] == {"uris": ["s3://nst/a.jpg", "s3://nst/b.png"]}


@pytest.mark.parametrize("inputs", [["s3://nst/in/", "photo.jpg"], ["s3://nst/a/", "s3://nst/b/"]])
def test_stylize_refuses_inputs_that_one_job_cannot_take(here: Run, inputs: list[str]) -> None:
    assert here("stylize", *inputs, "-s", "great_wave", "-o", "out")[0] == ExitCode.USAGE


def test_stylize_takes_a_version_of_a_style(api: CannedApi, here: Run) -> None:
    prepare_stylize(api, job_json("succeeded", total=2, succeeded=2))
    api.on("GET", "/v1/styles/great_wave?version=abababab", Answer(body=STYLE))
    code, *_ = here("stylize", "s3://nst/a.jpg", "-s", "great_wave@abababab", "-o", "s3://nst/out/")
    assert code == ExitCode.OK
    assert submitted(api)["styles"] == ["great_wave@abababab"]


def test_stylize_tells_a_wrong_style_before_it_uploads(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").touch()
    api.on("GET", "/v1/styles/van_gogh", problem(404, "not_found", "There is no style 'van_gogh'."))
    code, _, err = here("stylize", str(tmp_path), "-s", "van_gogh", "-o", str(tmp_path / "out"))
    assert code == ExitCode.REFUSED
    assert "There is no style 'van_gogh'." in err
    assert not [request for request in api.requests if request.method != "GET"]


def prepare_optimize(api: CannedApi) -> None:
    """Let one photo be optimised: two looks at it while it runs, then its end."""

    def running(iteration: int) -> Any:
        progress = {"iteration": iteration, "iterations": 50, "losses": {"style": 2.0, "content": 0.5}, "preview": True}
        return Answer(body={"data": [item_json(0, "running", style="night", progress=progress)]})

    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    api.on("POST", "/v1/uploads", Answer(status=201, body={"id": "upl_1", "prefix": "s3://nst/in/"}))
    for name in ("0.jpg", "night.png"):
        api.on("PUT", f"/v1/uploads/upl_1/{name}", Answer(status=201, body={"uri": f"s3://nst/up/{name}"}))
    styles = [{"name": "night", "version": "cd" * 32}]
    optimize = {"preset": "gatys2016", "config": PRESET["config"], "preview_every": 25}
    like: Any = {"method": "optimize", "styles": styles, "paintings": ["s3://nst/up/night.png"], "optimize": optimize}
    jobs = [job_json("running", total=1, **like)] * 2 + [job_json("succeeded", total=1, succeeded=1, **like)]
    api.on("POST", "/v1/jobs", Answer(status=202, body=job_json("queued", total=0, **like)))
    api.on("GET", "/v1/jobs/job_1", *(Answer(body=job) for job in jobs))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=running", running(10), running(23), Answer(body={"data": []}))
    done = item_json(0, style="night")
    api.on("GET", "/v1/jobs/job_1/items?limit=200", Answer(body={"data": [done]}))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=succeeded", Answer(body={"data": [done]}))
    api.on("GET", "/v1/jobs/job_1/items/0/output", Answer(body=b"picture"))


def test_optimize_uploads_both_pictures_submits_and_shows_the_iterations(
    api: CannedApi, here: Run, tmp_path: Path
) -> None:
    (tmp_path / "0.jpg").write_bytes(b"photo")
    (tmp_path / "night.png").write_bytes(b"painting")
    prepare_optimize(api)
    options = [
        "--size",
        "300",
        "--iterations",
        "50",
        "--color",
        "luminance",
        "--set",
        "seed=3",
        "--set",
        "network=vgg19",
    ]
    code, out, err = here(
        "optimize",
        str(tmp_path / "0.jpg"),
        str(tmp_path / "night.png"),
        "-o",
        str(tmp_path / "out"),
        "--json",
        *options,
    )
    assert code == ExitCode.OK, err
    assert {r.path: r.body for r in api.requests if r.method == "PUT"} == {
        "/v1/uploads/upl_1/0.jpg": b"photo",
        "/v1/uploads/upl_1/night.png": b"painting",
    }
    request = submitted(api)
    assert (request["method"], request["paintings"]) == ("optimize", ["s3://nst/up/night.png"])
    assert request["styles"] == []
    assert request["optimize"] == {
        "preset": "gatys2016",
        "options": {"size_px": 300, "iterations": 50, "color": "luminance", "seed": 3, "network": "vgg19"},
        "preview_every": 25,
    }
    assert "job_1 0.jpg: iteration 10 of 50, loss 2.5" in err
    assert "job_1 0.jpg: iteration 23 of 50, loss 2.5" in err
    [image] = json.loads(out)["images"]
    assert Path(image["file"]).read_bytes() == b"picture"


def test_optimize_writes_one_photo_to_a_file_in_its_format(api: CannedApi, here: Run, tmp_path: Path) -> None:
    prepare_optimize(api)
    target = tmp_path / "new" / "result.webp"
    arguments = ["s3://nst/in/0.jpg", "-s", "s3://nst/up/night.png", "-o", str(target)]
    assert here("optimize", *arguments)[0] == ExitCode.OK
    request = submitted(api)
    assert request["input"] == {"uris": ["s3://nst/in/0.jpg"]}
    assert request["paintings"] == ["s3://nst/up/night.png"]
    assert request["output"]["format"] == "webp"
    assert [path.name for path in target.parent.iterdir()] == ["result.webp"]
    assert target.read_bytes() == b"picture"


def test_optimize_takes_an_id_and_a_priority(api: CannedApi, here: Run, tmp_path: Path) -> None:
    prepare_optimize(api)
    api.on("PUT", "/v1/jobs/portrait", Answer(status=202, body=job_json("queued")))
    arguments = ["s3://nst/in/0.jpg", "s3://nst/up/night.png", "-o", str(tmp_path / "out"), "--id", "portrait"]
    assert here("optimize", *arguments, "--priority", "high")[0] == ExitCode.OK
    body = next(json.loads(request.body) for request in api.requests if request.method == "PUT")
    assert (body["method"], body["priority"]) == ("optimize", "high")


def test_optimize_tells_a_wrong_preset_before_it_uploads(api: CannedApi, here: Run, tmp_path: Path) -> None:
    (tmp_path / "0.jpg").touch()
    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    code, _, err = here("optimize", str(tmp_path), str(tmp_path / "0.jpg"), "-o", str(tmp_path), "-p", "monet")
    assert code == ExitCode.USAGE
    assert "There is no preset monet; known are gatys2016." in err
    assert not [request for request in api.requests if request.method != "GET"]


def test_a_painting_that_is_a_folder_is_refused(api: CannedApi, here: Run, tmp_path: Path) -> None:
    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    code, _, err = here("optimize", "s3://nst/in/0.jpg", str(tmp_path), "-o", str(tmp_path / "out"))
    assert code == ExitCode.USAGE
    assert "is a folder; one picture is needed" in err


def test_presets_are_a_table_or_json(api: CannedApi, here: Run) -> None:
    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    assert "content + gram; L-BFGS" in here("presets")[1]
    assert json.loads(here("presets", "--json")[1]) == [PRESET]
