"""Job calls of the clients against the real API. The test plays the workers."""

import hashlib
import json
import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nst_core.client import ApiError, Client
from nst_core.client.resources.items import ItemStatus
from nst_core.client.resources.jobs import JobInput, JobRequest, JobStatus, Priority
from nst_core.storage.blobs import BlobUri
from scheduler.api.app import make_api
from scheduler.domain.keys import new_api_key
from tests.clients import Connect
from tests.integration.conftest import TENANT, Rig
from tests.integration.serving import serving
from tests.photos import small_photos

# Not both databases but both kinds of clients: other tests cover the databases.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def client(rig: Rig, connect: Connect) -> Iterator[Client]:
    key = new_api_key()
    rig.service.keys.add(key, tenant=TENANT)
    api = make_api(rig.service, database=rig.database, broker=rig.broker, blobs=rig.blobs, clock=rig.clock)
    with serving(api) as url, connect(url, key) as client:
        yield client


def uploaded(client: Client, folder: Path) -> JobRequest:
    """Return a request for three photos: two from files, one from memory."""
    place = client.create_upload()
    for number, (name, data) in enumerate(small_photos(3).items()):
        (folder / name).write_bytes(data)
        client.upload(place.id, name, data if number == 0 else folder / name)
    return JobRequest(input=JobInput(prefix=place.prefix), styles=("wave",), priority=Priority.HIGH)


def test_a_job_goes_from_upload_to_results(client: Client, rig: Rig, tmp_path: Path) -> None:
    request = uploaded(client, tmp_path)
    check = client.check(request)
    assert (check.valid, check.photos) == (True, 3)
    job = client.put("spring", request)
    assert client.put("spring", request).id == job.id
    with pytest.raises(ApiError, match="it is queued"):
        client.results("spring")
    rig.run_to_end()
    job = client.wait("spring", timeout_s=60)
    assert (job.status, job.counts.succeeded, job.priority) == (JobStatus.SUCCEEDED, 3, Priority.HIGH)
    items = list(client.items("spring", status=ItemStatus.SUCCEEDED, page=2))
    assert [item.id for item in items] == [0, 1, 2]
    pictures = [b"%d" % item.id * (item.bytes or 0) for item in items]
    for item, picture in zip(items, pictures, strict=True):
        rig.blobs.put(BlobUri.parse(item.output or ""), picture)
    assert client.output("spring", 1) == pictures[1]
    lines = [json.loads(line) for line in client.results("spring").splitlines()]
    assert [line["output"] for line in lines] == [item.output for item in items]
    assert client.errors("spring") == b""
    [path] = client.zip("spring", tmp_path / "out.zip")
    with zipfile.ZipFile(path) as file:
        assert set(pictures) <= {file.read(name) for name in file.namelist()}
    assert [found.id for found in client.jobs(status=JobStatus.SUCCEEDED, page=1)] == [job.id]


def test_an_upload_with_a_chosen_id_is_listed_and_checked(client: Client, tmp_path: Path) -> None:
    upload_id = f"upl_{secrets.token_hex(12)}"
    place = client.create_upload(upload_id)
    assert (place.id, client.create_upload(upload_id)) == (upload_id, place)
    (tmp_path / "a.jpg").write_bytes(b"photo")
    digest = hashlib.sha256(b"photo").hexdigest()
    for name in ("b ü.jpg", "sub/a.jpg", "c.jpg"):
        assert client.upload(upload_id, name, tmp_path / "a.jpg", sha256=digest) == place.prefix + name
    (tmp_path / "a.jpg").write_bytes(b"other")
    with pytest.raises(ApiError, match="Content-Digest"):
        client.upload(upload_id, "d.jpg", tmp_path / "a.jpg", sha256=digest)
    found = [(file.path, file.bytes) for file in client.uploaded(upload_id, page=2)]
    assert found == [("b ü.jpg", 5), ("c.jpg", 5), ("sub/a.jpg", 5)]


def test_jobs_are_paused_resumed_cancelled_and_retried(client: Client, rig: Rig, tmp_path: Path) -> None:
    job = client.submit(uploaded(client, tmp_path))
    rig.plan()
    assert client.pause(job.id).status is JobStatus.PAUSED
    assert client.resume(job.id).status is JobStatus.RUNNING
    client.cancel(job.id)
    rig.run_to_end()
    assert client.wait(job.id).status is JobStatus.CANCELLED
    assert client.retry(job.id, cancelled=True).counts.pending == 3
    with pytest.raises(ApiError) as caught:
        client.job("job_none")
    assert (caught.value.status, caught.value.code) == (404, "not_found")


def test_photos_can_be_checked_before_they_are_uploaded(client: Client) -> None:
    prefix = client.create_upload().prefix
    request = JobRequest(input=JobInput(uris=(f"{prefix}a.jpg", f"{prefix}sub/b ü.png")), styles=("wave",))
    check = client.check(request, objects=False)
    assert (check.valid, check.photos, check.failing) == (True, 2, 0)
    missing = client.check(request)
    assert (missing.valid, missing.failing, missing.objects_checked) == (False, 2, 2)


def test_styles_are_listed(client: Client) -> None:
    assert [style.name for style in client.styles()] == ["udnie", "wave"]
    assert client.style("wave").version == "wave" * 4
    assert client.is_ready()
