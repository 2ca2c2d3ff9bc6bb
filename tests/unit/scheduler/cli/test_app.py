"""The options before the commands, and how errors are printed."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nst_core import __version__
from scheduler.cli.app import _EVERYWHERE, _OWN, COMMANDS, hoisted
from scheduler.cli.exits import ExitCode
from scheduler.local.servers import free_port
from tests.unit.scheduler.canned_api import Answer, CannedApi, job_json, problem
from tests.unit.scheduler.canned_runs import run_json
from tests.unit.scheduler.cli.conftest import STYLE, Run


@contextmanager
def local_zone(monkeypatch: pytest.MonkeyPatch, name: str) -> Iterator[None]:
    """Let this machine be in a time zone for the block."""
    with monkeypatch.context() as changes:
        changes.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text.strip()


def test_version(nst: Run) -> None:
    assert nst("version") == (ExitCode.OK, f"nst {__version__}\n", "")


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version_is_also_an_option(nst: Run, option: str) -> None:
    assert nst(option) == (ExitCode.OK, f"nst {__version__}\n", "")


EXIT = """
import atexit, sys
from scheduler.cli.app import main
atexit.register(print, "Python's own way out")
sys.argv = ["nst", *sys.argv[1:]]
main()
"""


def test_a_command_exits_at_once_with_its_code_and_its_whole_output() -> None:
    for argument, code, out in (("version", ExitCode.OK, f"nst {__version__}\n"), ("verse", ExitCode.USAGE, "")):
        done = subprocess.run([sys.executable, "-c", EXIT, argument], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (code, out)
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-c", EXIT, "version"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == ExitCode.LOCAL
    assert done.stderr == "nst: error: No space left on device (ENOSPC)\n"


@pytest.mark.parametrize("command", [[], ["jobs"], ["styles"]])
def test_a_group_without_a_command_prints_its_help(nst: Run, command: list[str]) -> None:
    code, out, err = nst(*command)
    assert (code, err) == (ExitCode.USAGE, "")
    assert f"Usage: nst {' '.join(command)}".strip() in out


def test_a_usage_error_names_the_help_of_its_command(nst: Run) -> None:
    assert nst("jobs", "watch")[2] == "nst: error: Missing argument 'JOB'. See nst jobs watch --help. (usage)\n"
    assert "'lst'. Did you mean 'list'? See nst jobs --help." in nst("jobs", "lst")[2]


def test_address_and_key_may_come_after_the_command(api: CannedApi, nst: Run) -> None:
    assert nst("styles", "list", "--api-key", "nst_key", f"--url={api.url}", "--json")[0] == ExitCode.OK
    assert api.requests[-1].headers["Authorization"] == "Bearer nst_key"
    for words in (
        ["jobs", "show", "--", "--url", "x"],
        ["--home", "h", "webhooks", "update", "w", "--url", "x"],
        *([command, "--home", "h"] for command in ("up", "demo", "backup", "restore")),
        ["--url", "a", "--url", "b", "jobs", "list"],
    ):
        assert hoisted(words) == words
    assert hoisted(["doctor", "--home", "h", "--json"]) == ["--home", "h", "doctor", "--json"]
    assert hoisted(["webhooks", "list", "--url", "x"]) == ["--url", "x", "webhooks", "list"]
    words = ["webhooks", "--url=a", "update", "w", "--url", "b", "--home", "h"]
    assert hoisted(words) == ["--url=a", "--home", "h", "webhooks", "update", "w", "--url", "b"]
    assert hoisted(["--url", "a", "jobs", "list", "--url", "b"]) == ["--url", "a", "--url", "b", "jobs", "list"]


def test_options_of_a_command_that_are_also_before_it_are_known() -> None:
    commands = {lazy.name: lazy.load() for lazy in COMMANDS}
    for name, group in list(commands.items()):
        commands |= {f"{name} {each}": command for each, command in getattr(group, "commands", {}).items()}
    own = {
        (name, option)
        for name, command in commands.items()
        for param in command.params
        for option in param.opts
        if option in _EVERYWHERE
    }
    assert own == set(_OWN.items())


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
    ("command", "said"),
    [
        (["stylize"], "Also takes --url, --api-key and --home: see nst --help."),
        (["jobs", "list"], "Also takes --url, --api-key and --home: see nst --help."),
        (["whoami"], "Also takes --url, --api-key and --home: see nst --help."),
        (["webhooks", "list"], "Also takes --url, --api-key and --home: see nst --help."),
        (["webhooks", "update"], "Also takes --api-key and --home: see nst --help."),
        (["db", "check"], "Also takes --home: see nst --help."),
    ],
)
def test_the_help_of_a_command_names_the_options_of_all_commands(nst: Run, command: list[str], said: str) -> None:
    assert said in nst(*command, "--help")[1]
    assert "Also takes" not in nst("up", "--help")[1]


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
        (["jobs", "list", "--since", "soon"], "is neither a duration such as 30m, 12h or 7d, nor a local time"),
        (["webhooks", "replay", "whk_1", "--since", "2026-13-01"], "is neither a duration"),
        (["jobs", "list", "--label", "album"], "--label takes KEY=VALUE"),
        (["jobs", "results", "j", "--zip", "a.zip", "--errors"], "Give only one of"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(nst: Run, arguments: list[str], message: str) -> None:
    code, out, err = nst(*arguments)
    assert (code, out) == (ExitCode.USAGE, "")
    assert one_line(err).startswith("nst: error: ")
    assert message in err


HALF, LONG = "a\udcff", "x" * 100_000


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["jobs", "show", HALF], ExitCode.FAILED, "is not valid UTF-8. (config_invalid)"),
        (["jobs", "events", HALF], ExitCode.FAILED, "is not valid UTF-8. (config_invalid)"),
        (["jobs", "list", "--method", HALF], ExitCode.FAILED, "is not valid UTF-8. (config_invalid)"),
        (["jobs", "list", "--label", f"{HALF}=a"], ExitCode.FAILED, "is not valid UTF-8. (config_invalid)"),
        (["styles", "watch", HALF], ExitCode.FAILED, "is not valid UTF-8. (config_invalid)"),
        (["stylize", "s3://b/a.jpg", "-o", "x", "-s", HALF], ExitCode.FAILED, "is not valid UTF-8. (config_invalid)"),
        (["jobs", "show", LONG], ExitCode.FAILED, "A text of 100,000 bytes is too long"),
        (["jobs", "list", "--label", f"a={LONG}"], ExitCode.FAILED, "is too long"),
        (["runs", "fork", "night", "--set", f"a={HALF}"], ExitCode.FAILED, "cannot be sent"),
        (["runs", "fork", "night", "--set", "a=NaN"], ExitCode.FAILED, "cannot be sent"),
        (["runs", "fork", "night", "--set", "a=1e400"], ExitCode.FAILED, "cannot be sent"),
        (["runs", "fork", "night", "--set", "a=" + "[" * 100_000], ExitCode.USAGE, "--set a is nested too deeply"),
        (["jobs", "list", "-n", "9" * 30], ExitCode.USAGE, "less than or equal to 1000000000"),
        (
            ["stylize", "s3://b/a.jpg", "-o", "x", "-s", "great_wave", "--mask", "a\0"],
            ExitCode.USAGE,
            "is not the name of a file. (usage)",
        ),
        (
            ["stylize", "s3://b/a.jpg", "-o", "x", "-s", "great_wave", "--deadline", "0001-01-01"],
            ExitCode.USAGE,
            "The time 0001-01-01T00:00:00 is too early or too late. (usage)",
        ),
        (["webhooks", "replay", "whk_1", "--since", "0001-01-01"], ExitCode.USAGE, "is too early or too late. (usage)"),
        (
            ["webhooks", "replay", "whk_1", "--since", "9999-12-31T23:59:59"],
            ExitCode.USAGE,
            "is too early or too late. (usage)",
        ),
    ],
)
def test_hostile_text_is_one_line_and_never_a_traceback(
    api: CannedApi, here: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: ExitCode, said: str
) -> None:
    runs = {"data": [run_json("succeeded")]}
    api.on("GET", "/v1/runs?limit=1&name=night", Answer(body=runs))
    zone = "America/New_York" if "9999-12-31T23:59:59" in arguments else "Europe/Berlin"
    with local_zone(monkeypatch, zone):
        got, out, err = here(*arguments)
    assert (got, out) == (code, "")
    assert said in one_line(err)


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


def test_styles_are_a_table_or_json(here: Run) -> None:
    code, out, _ = here("styles", "list")
    assert code == ExitCode.OK
    assert "great_wave" in out
    assert "Hokusai" in out
    assert json.loads(here("styles", "list", "--json")[1]) == [STYLE]
    assert "The Great Wave" in here("styles", "show", "great_wave")[1]
