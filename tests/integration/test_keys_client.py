"""Keys and tenants in the client and on the command line, against the real API."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from nst_core.client import ApiError, Client
from scheduler.api.app import make_api
from scheduler.cli.app import run
from scheduler.cli.exits import ExitCode
from scheduler.domain.keys import new_api_key
from tests.clients import Connect
from tests.integration.conftest import TENANT, Rig
from tests.integration.serving import serving

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def api(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """The address and key of a real server, which the command line finds in the environment."""
    key = new_api_key()
    rig.service.keys.add(key, tenant=TENANT, name="bootstrap")
    app = make_api(rig.service, database=rig.database, broker=rig.broker, blobs=rig.blobs, clock=rig.clock)
    with serving(app) as url:
        monkeypatch.setenv("NST_URL", url)
        monkeypatch.setenv("NST_API_KEY", key)
        monkeypatch.setenv("COLUMNS", "80")
        yield url, key


END = datetime(2090, 1, 1, tzinfo=UTC)


@pytest.fixture
def client(api: tuple[str, str], connect: Connect) -> Iterator[Client]:
    with connect(*api) as client:
        yield client


def test_the_client_makes_rotates_and_revokes_keys(client: Client, connect: Connect, rig: Rig) -> None:
    rig.clock.advance(1)
    made = client.keys.create("nightly", ["jobs:read", "keys:write"], expires_at=END)
    with connect(client.url, made.key) as other:
        assert other.tenants.own().key.id == made.id
        with pytest.raises(ApiError) as caught:
            other.tenants.get("any")
        assert (caught.value.status, caught.value.code) == (403, "forbidden")
        rotated = client.keys.rotate(made.id, overlap_s=0)
        with pytest.raises(ApiError) as caught:
            other.tenants.own()
        assert caught.value.code == "key_expired"
    assert (rotated.id, rotated.expires_at) == (made.id, END)
    client.keys.revoke(made.id)
    assert [(key.name, key.status) for key in client.keys.all(page=1)] == [
        ("nightly", "revoked"),
        ("bootstrap", "active"),
    ]
    assert client.keys.get(made.id).revoked_at is not None
    assert made.key not in repr(made)


def test_a_rate_limited_request_is_repeated_after_the_given_time(client: Client, connect: Connect, rig: Rig) -> None:
    client.tenants.put(TENANT, limits={"requests_per_s": 1, "burst": 1})
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        rig.clock.advance(seconds)

    other = new_api_key()
    rig.service.keys.add(other, tenant=TENANT)
    with connect(client.url, other, sleep=sleep) as polite:
        for _ in range(3):
            polite.tenants.own()
    assert pauses == [1.0, 1.0]


@pytest.mark.usefixtures("api")
def test_only_the_key_is_printed_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["keys", "create", "nightly batch", "-s", "jobs:read,jobs:write", "--expires", "52w"]) == ExitCode.OK
    shown = capsys.readouterr()
    key = shown.out.strip()
    assert key.startswith("nst_")
    assert key not in shown.err
    assert run(["keys", "rotate", key[:12], "--overlap", "0s"]) == ExitCode.OK
    assert capsys.readouterr().out.strip() != key
    # A whole key is accepted too, and its secret is not sent.
    assert run(["keys", "show", key]) == ExitCode.OK
    assert "nightly batch" in capsys.readouterr().out
    assert run(["keys", "revoke", key[4:12]]) == ExitCode.OK
    capsys.readouterr()
    assert run(["keys", "list"]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert any("nightly batch" in line and "revoked" in line for line in lines)
    assert run(["keys", "show", "nonsense"]) == ExitCode.USAGE
    assert run(["keys", "create", "x", "-s", "jobs:read", "--expires", "soon"]) == ExitCode.USAGE
    assert run(["keys", "create", "x", "-s", "nothing"]) == ExitCode.REFUSED


def test_single_settings_of_a_tenant_can_be_changed(api: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tenants", "set", "lab", "--weight", "2", "--read", "s3://photos/2026", "--limit", "burst=5"]) == 0
    assert (
        run(["tenants", "set", "lab", "--limit", "max_result_pixels=1_000_000", "--limit", "max_streams=unlimited"])
        == 0
    )
    capsys.readouterr()
    assert run(["tenants", "show", "lab", "--json"]) == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["weight"], found["read"], found["write"]) == (2.0, ["s3://photos/2026/"], None)
    assert found["overrides"] == {"burst": 5, "max_result_pixels": 1_000_000, "max_streams": None}
    assert run(["tenants", "set", "lab", "--read", "default", "--limit", "burst=default"]) == ExitCode.OK
    with Client(*api) as client:
        lab = client.tenants.get("lab")
    assert (lab.read, lab.overrides) == (None, {"max_result_pixels": 1_000_000, "max_streams": None})
    assert run(["tenants", "set", "lab", "--limit", "burst"]) == ExitCode.USAGE


@pytest.mark.usefixtures("api")
def test_who_am_i_fits_into_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["whoami"]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert "default" in shown
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines())
