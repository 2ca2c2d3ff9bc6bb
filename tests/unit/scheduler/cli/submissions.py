"""Prepared answers for commands that submit jobs."""

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scheduler.cli.transfer.photos import Photo
from scheduler.cli.transfer.uploads import Hashed, upload_id_of
from tests.unit.scheduler.canned_api import Answer, CannedApi, item_json, job_json, upload_json

PRESET = {
    "name": "gatys2016",
    "summary": "content + gram; L-BFGS, 500 iterations, 512 px",
    "config": {"iterations": 500, "size_px": 512, "color": "style"},
    "families": [],
}
#: Arguments of `nst stylize` after the photos.
STYLIZE = ("-s", "great_wave", "-o", "s3://nst/out/")


def upload_id(**files: bytes) -> str:
    """Return the id of the upload of some files."""

    def hashed(name: str, data: bytes) -> Hashed:
        photo = Photo(path=Path(name), name=name, bytes=len(data), identity=(0, 0))
        return Hashed(photo=photo, sha256=hashlib.sha256(data).hexdigest())

    return upload_id_of([hashed(name, data) for name, data in files.items()])


def photos_in(folder: Path, *names: str) -> Path:
    """Write files into a folder, whose content is their name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(name.encode())
    return folder


def interrupt() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def too_many(*, then: Callable[[], None] = lambda: None) -> Answer:
    """Return an answer after which the client waits for half a minute; `then` is called before."""
    body = {"type": "about:blank", "title": "x", "detail": "Too many requests.", "code": "rate_limited"}
    return Answer(status=429, body=body, headers={"Retry-After": "30"}, first=then)


def submitted(api: CannedApi) -> Any:
    """Return the body of the job that was submitted."""
    return next(json.loads(r.body) for r in api.requests if (r.method, r.path) == ("POST", "/v1/jobs"))


def answer_job(api: CannedApi, *items: Any) -> None:
    """Let a job end at once with some items."""
    count = len(items)
    api.on("POST", "/v1/jobs", Answer(status=202, body=job_json("queued", total=0)))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job_json("succeeded", total=count, succeeded=count)))
    api.on("GET", "/v1/jobs/job_1/items?limit=200", Answer(body={"data": list(items)}))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=succeeded", Answer(body={"data": list(items)}))
    for number in range(count):
        api.on("GET", f"/v1/jobs/job_1/items/{number}/output", Answer(body=b"picture"))


def prepare_stylize(api: CannedApi, job: Any) -> None:
    """Let a job end as `job`, with one result and one failed item."""
    api.on("POST", "/v1/jobs", Answer(status=202, body=job_json("queued", total=0)))
    api.on("GET", "/v1/jobs/job_1", Answer(body=job))
    api.on("GET", "/v1/jobs/job_1/items?limit=200", Answer(body={"data": [item_json(0), item_json(1, "failed")]}))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=succeeded", Answer(body={"data": [item_json(0)]}))
    api.on("GET", "/v1/jobs/job_1/items?limit=10&status=failed", Answer(body={"data": [item_json(1, "failed")]}))
    api.on("GET", "/v1/jobs/job_1/items/0/output", Answer(body=b"picture"))


def prepare_optimize(api: CannedApi, suffix: str = "jpg") -> None:
    """Let one photo be optimized: it is seen running twice, and then finished."""

    def running(iteration: int) -> Any:
        progress = {"iteration": iteration, "iterations": 50, "losses": {"style": 2.0, "content": 0.5}, "preview": True}
        return Answer(body={"data": [item_json(0, "running", style="night", progress=progress)]})

    api.on("GET", "/v1/presets", Answer(body={"data": [PRESET]}))
    styles = [{"name": "night", "version": "cd" * 32}]
    optimize = {"preset": "gatys2016", "config": PRESET["config"], "preview_every": 25}
    like: Any = {"method": "optimize", "styles": styles, "paintings": ["s3://nst/up/night.png"], "optimize": optimize}
    counts = {"total": 1, "running": 1, "succeeded": 0, "failed": 0, "cancelled": 0, "pending": 0}
    jobs = [job_json("running", **like, counts=counts)] * 2 + [job_json("succeeded", total=1, succeeded=1, **like)]
    api.on("POST", "/v1/jobs", Answer(status=202, body=job_json("queued", total=0, **like)))
    api.on("GET", "/v1/jobs/job_1", *(Answer(body=job) for job in jobs))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=running", running(10), running(23))
    done = item_json(0, style="night", output=f"s3://nst/out/0__night.{suffix}")
    api.on("GET", "/v1/jobs/job_1/items?limit=200", Answer(body={"data": [done]}))
    api.on("GET", "/v1/jobs/job_1/items?limit=200&status=succeeded", Answer(body={"data": [done]}))
    api.on("GET", "/v1/jobs/job_1/items/0/output", Answer(body=b"picture"))


def prepare_check(api: CannedApi, *checks: Any) -> None:
    """Let dry runs of photos on this machine have these answers, and give them a place for addresses."""
    api.on("POST", "/v1/uploads", Answer(status=201, body=upload_json("upl_1", "s3://nst/up/")))
    api.on("DELETE", "/v1/uploads/upl_1", Answer(status=204, body=b""))
    api.on("POST", "/v1/jobs?validate=true&objects=false", *(Answer(body=check) for check in checks))
