"""What `nst stylize` refuses before it uploads photos, against the real API."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nst_core.client import Client
from scheduler.api.app import make_api
from scheduler.cli.app import run
from scheduler.cli.exits import ExitCode
from scheduler.domain.keys import new_api_key
from scheduler.store.tenants import Tenant
from tests.integration.conftest import TENANT, Rig
from tests.integration.serving import serving
from tests.photos import small_photos

# Not both databases: other tests cover them.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def api(rig: Rig) -> Iterator[tuple[str, str]]:
    key = new_api_key()
    rig.service.keys.add(key, tenant=TENANT)
    app = make_api(rig.service, database=rig.database, broker=rig.broker, blobs=rig.blobs, clock=rig.clock)
    with serving(app) as url:
        yield url, key


@pytest.mark.parametrize(
    ("options", "limits", "message"),
    [
        (["-o", "s3://elsewhere/out/"], {}, "(/output/prefix)"),
        (["-o", "s3://nst/tenants/other/"], {}, "(/output/prefix)"),
        (["-o", "s3://nst/out/"], {"max_items_per_job": 1}, "A job may have at most 1 images."),
        (["-o", "s3://nst/out/", "--upscale", "4"], {"max_result_pixels": 1_000_000}, "(/output/max_px)"),
    ],
)
def test_what_the_api_would_refuse_is_not_uploaded(
    api: tuple[str, str],
    rig: Rig,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    options: list[str],
    limits: dict[str, float | None],
    message: str,
) -> None:
    rig.service.tenants.put(Tenant(id=TENANT, limits=limits))
    for name, data in small_photos(2).items():
        (tmp_path / name).write_bytes(data)
    url, key = api
    code = run(("--url", url, "--api-key", key, "stylize", str(tmp_path), "-s", "wave", *options))
    err = capfd.readouterr().err
    assert (code, message in err) == (ExitCode.REFUSED, True), err
    with Client(url, key) as client:
        assert list(client.jobs()) == []
        assert [file for upload in client.uploads() for file in client.uploaded(upload.id)] == []
