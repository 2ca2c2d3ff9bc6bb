"""What the API says about trainings, for tests of the client and the command line."""

from typing import Any

from nst_core.client.resources.base import Failure
from nst_core.client.resources.runs import KeptCheckpoint, Photos, Run, RunStatus

RUN_ID = "run_01a200f49ffc70780bfa5c52"
OTHER_ID = "run_01a200f49ffc70780bfa5c53"
LOSSES = {"content": 134302.1, "style": 55312.2, "tv": 0.0, "stability": 0.0, "shift": 0.0, "total": 189614.3}
PRESETS = {
    "data": [
        {"name": "standard", "summary": "2,000 steps", "config": {"steps": 2000, "style_size_px": 640}},
        {
            "name": "norms",
            "summary": "100 steps",
            "config": {"steps": 100, "style_size_px": 200},
            "families": ["painters"],
        },
    ]
}


def run_json(status: str = "running", **more: Any) -> Any:
    """Return a run as the API gives it."""
    return {
        "id": RUN_ID,
        "name": "night",
        "status": status,
        "step": 0,
        "steps": 2000,
        "preset": "standard",
        "stroke": 1.0,
        "strength": 1.0,
        "config": {"steps": 2000, "size_px": 256, "batch_size": 4},
        "painting": "s3://nst/tenants/default/uploads/upl_1/night.png",
        "data": "s3://nst/photos/",
        "photos": {"count": 0},
        "warning": None,
        "losses": {},
        "steps_per_s": None,
        "eta_s": None,
        "note": "",
        "worker": None,
        "attempt": 1,
        "failures": 0,
        "segments": 0,
        "checkpoints": [],
        "evaluation": None,
        "version": None,
        "published": False,
        "parent": None,
        "publish": True,
        "exact": False,
        "about": {},
        "error": None,
        "created_at": "2026-11-22T01:00:00Z",
        "started_at": "2026-11-22T01:00:01Z",
        "finished_at": None,
        **more,
    }


def going_json(step: int, *, segments: int, **more: Any) -> Any:
    """Return a run whose numbers are known."""
    return run_json(step=step, segments=segments, losses=LOSSES, steps_per_s=2.314, eta_s=(2000 - step) / 2.314, **more)


def sample_json(stem: str, step: int) -> Any:
    """Return a sample as the API gives it."""
    file = f"{stem}_{step:08d}.jpg"
    uri = f"s3://nst/tenants/default/runs/{RUN_ID}/samples/{file}"
    return {"id": file, "name": stem, "step": step, "uri": uri, "href": f"/v1/runs/{RUN_ID}/samples/{file}"}


#: A run of which all is known.
RUN = Run(
    id=RUN_ID,
    name="night",
    status=RunStatus.RUNNING,
    step=1234,
    steps=2000,
    preset="standard",
    stroke=1.5,
    strength=1.0,
    config={"network": "vgg16", "size_px": 256, "batch_size": 4},
    painting="s3://nst/tenants/default/uploads/upl_1/night.png",
    data="s3://nst/photos/",
    photos=Photos(count=1226, held_out=16, skipped=2, reasons={"a[1].jpg": "The data is not an image."}),
    losses=LOSSES,
    steps_per_s=2.314,
    eta_s=331.0,
    note="compiling",
    worker="worker-1",
    attempt=14,
    failures=1,
    segments=13,
    checkpoints=(KeptCheckpoint(step=1000, sha256="ab" * 32, uri="s3://nst/x/1000"),),
    about={"title": "Starry [Night]"},
    error=Failure(code="worker_lost", message="The worker fell silent."),
    created_at="2026-11-22T11:40:00Z",
    started_at="2026-11-22T11:40:01Z",
)
