"""A method of another package, registered only by its entry points, runs through the whole real stack."""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_core.client import Client
from nst_core.client.resources.jobs import JobInput, JobRequest, Output
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.local.embedded import Stack
from tests.faults.harness import check_complete, finish, upload
from tests.photos import small_photos

ROOT = Path(__file__).parents[2]
ENTRY_POINTS = """
[nst.scheduler.methods]
grey = tests.integration.toy_method.in_scheduler:Grey

[nst.worker.methods]
grey = tests.integration.toy_method.in_worker:Grey
"""


def installed(folder: Path) -> Path:
    """Write the metadata that pip installs for a package into a folder, and return the folder."""
    metadata = folder / "toy_method-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-method\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    return folder


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    packages = installed(tmp_path_factory.mktemp("packages"))
    path = os.pathsep.join([str(packages), str(ROOT), os.environ.get("PYTHONPATH", "")])
    with Stack(tmp_path_factory.mktemp("home"), workers=1, env={"PYTHONPATH": path}) as stack:
        yield stack


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    with stack.client() as client:
        yield client


def test_photos_are_turned_grey(stack: Stack, client: Client) -> None:
    photos = small_photos(5)
    uris = tuple(upload(client, photos))
    request = JobRequest(input=JobInput(uris=uris), method="grey", strength=0.5, output=Output(format="png"))
    outcome = finish(stack, client, client.submit(request))
    assert (outcome.job.status, outcome.job.method, outcome.job.styles[0].name) == ("succeeded", "grey", "grey")
    check_complete(outcome)
    assert {(line["method"], line["amount"]) for line in outcome.results} == {("grey", 0.5)}
    store = BlobStore(stack.addresses.storage)
    for item in outcome.items:
        before = np.asarray(Image.open(io.BytesIO(photos[Path(item.input).name])).convert("RGB"), dtype=np.float64)
        after = np.asarray(Image.open(io.BytesIO(store.get(BlobUri.parse(str(item.output))))), dtype=np.float64)
        halfway = (before + before.mean(axis=2, keepdims=True)) / 2
        assert np.abs(after - halfway).max() <= 1.0
    assert [job.id for job in client.jobs(method="grey")] == [outcome.job.id]


def test_the_method_checks_its_requests(client: Client) -> None:
    photos = upload(client, small_photos(1))
    check = client.check(JobRequest(input=JobInput(uris=tuple(photos)), method="grey", styles=("great_wave",)))
    assert not check.valid
    assert [(problem.pointer, problem.message) for problem in check.problems] == [
        ("/styles", "The method grey has no styles.")
    ]
