"""Runs through the real API, for tests of its routes."""

from typing import Any

import numpy as np
from fastapi.testclient import TestClient

from nst_core.images import Picture, encode
from scheduler.api.app import make_api
from scheduler.domain.keys import new_api_key
from tests.integration.conftest import TENANT, Rig
from tests.integration.runs.kit import RunRig


def picture(width: int = 96, height: int = 80, suffix: str = "jpg") -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encode(Picture(rgb=pixels), suffix)


def connect(rig: Rig, tenant: str) -> TestClient:
    key = new_api_key()
    rig.service.keys.add(key, tenant=tenant)
    if tenant != TENANT:  # which may use all places
        rig.add_tenant(tenant)
    api = make_api(rig.service, database=rig.database, broker=rig.broker, blobs=rig.blobs, clock=rig.clock)
    return TestClient(api, headers={"Authorization": f"Bearer {key}"}, raise_server_exceptions=False)


def body(runs: RunRig, **changes: Any) -> dict[str, Any]:
    """Return a request whose painting and photos are in storage."""
    place = f"s3://nst/{runs.rig.prefix}"
    painting = f"{place}/night.png"
    runs.put(painting, picture(suffix="png"))
    for number in range(3):
        runs.put(f"{place}/photos/{number}.jpg", b"photo")
    runs.put(f"{place}/photos/README.txt", b"text")
    return {"name": "night", "painting": painting, "data": f"{place}/photos", "steps": 100} | changes


def submit(client: TestClient, runs: RunRig, **changes: Any) -> Any:
    runs.rig.clock.advance(0.01)
    return client.post("/v1/styles", json=body(runs, **changes))


def train(client: TestClient, runs: RunRig, **changes: Any) -> str:
    answer = submit(client, runs, **changes)
    assert answer.status_code == 202, answer.json()
    return str(answer.json()["id"])
