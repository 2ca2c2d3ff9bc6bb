"""Training and version calls of the client against the real API. The test plays the workers."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from nst_core.client import ApiError, Client
from nst_core.client.resources.runs import ForkRequest, Run, RunStatus, TrainRequest
from nst_core.storage.blobs import BlobUri
from scheduler.api.app import make_api
from scheduler.domain.keys import new_api_key
from tests.clients import Connect
from tests.integration.conftest import TENANT, Rig
from tests.integration.runs.kit import RunRig, begun, broken, going
from tests.integration.serving import serving
from tests.photos import small_photos
from tests.shipped import shipped_style

# Not both databases but both kinds of clients: other tests cover the databases.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def painting() -> bytes:
    """Return a PNG picture."""
    buffer = io.BytesIO()
    Image.radial_gradient("L").convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def client(rig: Rig, connect: Connect) -> Iterator[Client]:
    """A client of a real server that runs in a separate thread."""
    key = new_api_key()
    rig.service.keys.add(key, tenant=TENANT)
    api = make_api(rig.service, database=rig.database, broker=rig.broker, blobs=rig.blobs, clock=rig.clock)
    with serving(api) as url, connect(url, key) as client:
        yield client


def submit(client: Client, rig: Rig, *, name: str = "night", **changes: object) -> Run:
    """Submit a training on a few photos. Moves the clock a little, because runs are ordered by time."""
    rig.clock.advance(0.01)
    place = client.create_upload()
    for file, data in small_photos(3).items():
        client.upload(place.id, file, data)
    values = {"name": name, "data": place.prefix, "steps": 20, "initial": "none", **changes}
    return client.runs.train(TrainRequest(**values), painting=painting())


def test_a_painting_sent_with_the_request_is_stored_unchanged(client: Client, rig: Rig, tmp_path: Path) -> None:
    run = submit(client, rig, about={"title": "Nächte", "year": "1889"}, options={"batch_size": 1}, samples=())
    assert (run.name, run.status, run.steps, run.preset) == ("night", RunStatus.QUEUED, 20, "standard")
    assert client.runs.painting(run.id) == painting()
    assert run.config is not None
    assert (run.config["batch_size"], run.about) == (1, {"title": "Nächte", "year": "1889"})
    assert run.warning is not None
    assert run.warning.startswith("There are only 3 photos")
    (tmp_path / "nächte.png").write_bytes(painting())
    request = TrainRequest(name="other", data=run.data, steps=20, initial="none")
    again = client.runs.train(request, painting=tmp_path / "nächte.png", idempotency_key="k")
    assert client.runs.train(request, painting=tmp_path / "nächte.png", idempotency_key="k").id == again.id


def test_a_painting_in_storage_is_named(client: Client, rig: Rig) -> None:
    photos = submit(client, rig).data
    uri = client.upload(client.create_upload().id, "night.png", painting())
    run = client.runs.train(TrainRequest(name="day", painting=uri, data=photos, initial="none"))
    assert client.runs.painting(run.id) == painting()
    with pytest.raises(ApiError, match="/painting") as caught:
        client.runs.train(TrainRequest(name="day", painting=uri + "x", data=photos, initial="none"))
    assert (caught.value.status, caught.value.code) == (422, "request_invalid")


def test_progress_reaches_the_client(client: Client, rig: Rig, runs: RunRig) -> None:
    run = submit(client, rig)
    segment = runs.next()
    losses = {"content": 2.0, "style": 1.0, "total": 3.0}
    runs.report(begun(segment, worker="w7"), going(segment, 10, losses=losses, steps_per_s=2.0, note="compiling"))
    run = client.runs.get(run.id)
    assert (run.status, run.step, run.losses, run.worker) == (RunStatus.RUNNING, 10, losses, "w7")
    assert (run.steps_per_s, run.eta_s, run.note) == (2.0, 5.0, "compiling")
    runs.report(broken(segment, retryable=True))
    run = client.runs.get(run.id)
    assert run.failures == 1


def test_a_finished_run_has_pictures_losses_and_a_version(client: Client, rig: Rig, runs: RunRig) -> None:
    run = submit(client, rig)
    with pytest.raises(ApiError, match="no losses yet"):
        client.runs.losses(run.id)
    runs.finish(run.id)
    run = client.runs.wait(run.id, poll_s=0, timeout_s=0)
    assert (run.status, run.step, run.published) == (RunStatus.SUCCEEDED, 20, True)
    assert run.photos is not None
    assert [kept.step for kept in run.checkpoints] == [20]
    assert run.evaluation == {"ssim": 0.5, "remarks": []}
    assert len(client.runs.losses(run.id).splitlines()) == 21
    assert client.runs.curve(run.id).startswith(b"\x89PNG")
    assert client.runs.sheet(run.id) == b"sheet"
    place = f"tenants/{TENANT}/runs/{run.id}/samples/"
    rig.blobs.put(BlobUri("nst", f"{place}a b#ü_00000010.jpg"), b"picture")
    [sample] = client.runs.samples(run.id)
    assert (sample.name, sample.step) == ("a b#ü", 10)
    assert client.runs.sample(run.id, sample.id) == b"picture"
    assert client.runs.sample_url(run.id, sample) == client.url + sample.href
    weights = shipped_style("udnie").weights()
    assert client.style_weights("night") == client.style_weights("night", version=(run.version or "")[:8]) == weights
    [version] = client.style_versions("night")
    assert (version.version, version.current, version.run) == (run.version, True, run.id)
    client.delete_style("night")
    with pytest.raises(ApiError, match="night"):
        client.style("night")
    assert client.publish_style("night", (run.version or "")[:8]).version == run.version
    assert client.style("night", version=(run.version or "")[:8]).version == run.version


def test_an_unpublished_result_waits_to_be_published(client: Client, rig: Rig, runs: RunRig) -> None:
    run = submit(client, rig, publish=False)
    runs.finish(run.id)
    assert not client.runs.get(run.id).published
    assert client.runs.publish(run.id).published


def test_runs_are_paused_resumed_cancelled_and_extended(client: Client, rig: Rig) -> None:
    run = submit(client, rig)
    assert client.runs.pause(run.id).status is RunStatus.PAUSED
    assert client.runs.resume(run.id).status is RunStatus.QUEUED
    assert client.runs.extend(run.id, steps=50).steps == 50
    assert client.runs.cancel(run.id).status is RunStatus.CANCELLED
    with pytest.raises(ApiError) as caught:
        client.runs.extend(run.id, steps=50)
    assert (caught.value.status, caught.value.code) == (409, "conflict")


def test_a_fork_names_its_parent_and_is_made_only_once(client: Client, rig: Rig, runs: RunRig) -> None:
    run = submit(client, rig, strength=2.0)
    runs.train_to(run.id, 8)
    request = ForkRequest(steps=30, name="dusk", step=8, stroke=2.0, options={"seed": 5}, publish=False)
    fork = client.runs.fork(run.id, request, idempotency_key="k")
    assert client.runs.fork(run.id, request, idempotency_key="k").id == fork.id
    assert fork.parent is not None
    assert (fork.parent.run, fork.parent.step) == (run.id, 8)
    assert (fork.name, fork.steps, fork.stroke, fork.publish) == ("dusk", 30, 2.0, False)


def test_runs_are_listed_newest_first_over_all_pages_and_filtered(client: Client, rig: Rig) -> None:
    ids = [submit(client, rig, name=name).id for name in ("night", "day", "night")]
    client.runs.cancel(ids[1])
    assert [run.id for run in client.runs.all(page=1)] == ids[::-1]
    assert [run.id for run in client.runs.all(name="night", page=1)] == [ids[2], ids[0]]
    assert [run.id for run in client.runs.all(status=RunStatus.CANCELLED)] == [ids[1]]
    newest = client.runs.newest("night")
    assert newest is not None
    assert newest.id == ids[2]
    assert client.runs.newest("dusk") is None


def test_presets_of_trainings_are_those_of_the_library(client: Client) -> None:
    assert [preset.name for preset in client.runs.presets()] == ["quick", "standard", "norms", "instant", "paper"]
