"""Where the API is, and which key is sent to it."""

import time
from pathlib import Path

import pytest

from scheduler.cli.exits import ExitCode
from scheduler.cli.session import Session
from scheduler.local.home import ClientConfig, Home
from tests.unit.scheduler.canned_api import Answer, CannedApi, job_json
from tests.unit.scheduler.cli.conftest import Run


def test_address_and_key_come_from_the_home_folder(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.locked():
        home.write_client(ClientConfig(url=api.url, api_key="nst_of_home"))
    assert nst("styles", "list")[0] == ExitCode.OK
    assert api.requests[-1].headers["Authorization"] == "Bearer nst_of_home"


@pytest.mark.parametrize("url", ["{url}", "{url}/", "HTTP{rest}", "{url}//"])
def test_the_key_of_the_home_folder_is_sent_to_its_own_address_however_that_is_written(
    api: CannedApi, nst: Run, tmp_path: Path, url: str
) -> None:
    home = Home(tmp_path / "home")
    with home.locked():
        home.write_client(ClientConfig(url=api.url, api_key="nst_of_home"))
    assert nst("--url", url.format(url=api.url, rest=api.url[4:]), "styles", "list")[0] == ExitCode.OK
    assert api.requests[-1].headers["Authorization"] == "Bearer nst_of_home"


def test_the_key_of_the_home_folder_is_not_sent_to_another_address(api: CannedApi, nst: Run, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    with home.locked():
        home.write_client(ClientConfig(url="http://127.0.0.1:1", api_key="nst_of_home"))
    for url in (api.url, api.url + "/v2", api.url.replace("//", "//user@")):
        nst("--url", url, "styles", "list")
        assert "nst_of_home" not in api.requests[-1].headers.get("Authorization", "")


def test_a_slow_api_is_reported(api: CannedApi, here: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_core.client._sync.transport._SILENCE_S", 0.05)
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded"), first=lambda: time.sleep(0.5)))
    code, _, err = here("jobs", "show", "job_1")
    assert (code, err) == (
        ExitCode.OK,
        f"No answer from {api.url} yet; still trying. Is the API running there (nst up)?\n",
    )


@pytest.mark.parametrize(
    ("url", "home", "environment", "given"),
    [
        (None, "~/.nst", {}, ""),
        ("http://a", "h", {}, " --url http://a --home h"),
        ("http://a", "h", {"NST_URL": "http://a", "NST_HOME": "h"}, ""),
        ("http://b", "h", {"NST_URL": "http://a", "NST_HOME": "g"}, " --url http://b --home h"),
        (None, "~/.nst", {"NST_HOME": "g"}, " --home '~/.nst'"),
        (None, "~/.nst", {"NST_URL": "", "NST_HOME": ""}, ""),
    ],
)
def test_a_suggested_command_goes_to_the_same_api(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    url: str | None,
    home: str,
    environment: dict[str, str],
    given: str,
) -> None:
    for name in ("NST_URL", "NST_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    Session(url=url, home=Path(home)).hint("Watch it with", "jobs", "watch", "job_1")
    assert capfd.readouterr().err == f"Watch it with nst{given} jobs watch job_1\n"
