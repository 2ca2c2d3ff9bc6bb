"""The attacks of the hostile tenant: one function for each entry point, which returns the forbidden results."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import httpx

from nst_core.client import ApiError
from nst_core.client.resources.jobs import Job, JobInput, JobRequest
from nst_core.client.resources.methods import Optimize
from nst_core.client.resources.runs import Run, TrainRequest
from nst_core.errors import BlobTooLargeError, ImageError, NstError
from nst_core.storage.blobs import BlobUri
from tests.hostile.api_requests import hostile_requests
from tests.hostile.files import HostileFile
from tests.hostile.ground import STYLE, Ground
from tests.hostile.seeds import picture, saved
from tests.hostile.sending import Answers, send_all
from tests.hostile.weights import hostile_weights
from tests.photos import small_photos

#: A training with very fast steps.
_TINY = {
    "transformer": {"width": 4, "blocks": 1, "output": "tanh"},
    "size_px": 64,
    "batch_size": 1,
    "style_size_px": 64,
    "content_layer": "relu1_2",
    "style_weights": {"relu1_1": 1.0},
}


@dataclass
class Result:
    """How a phase ended."""

    name: str
    #: How many things were sent.
    sent: int = 0
    #: How many ended with each code.
    ends: Counter[str] = field(default_factory=Counter)
    #: Violations, one sentence each.
    problems: list[str] = field(default_factory=list)
    answers: Answers | None = None


def codes_of(*roots: type[NstError]) -> set[str]:
    """Return the stable codes of error classes and their subclasses."""
    classes = list(roots)
    for cls in classes:
        classes += cls.__subclasses__()
    return {cls.code for cls in classes}


def photos_of_jobs(here: Ground, files: Iterable[HostileFile], *, until: float) -> Result:
    """Send all files as the photos of one job."""
    result = Result("photos of a job")
    job = _ended(here, here.submit(here.put(files)), until, result)
    _judge_items(here, job, result)
    return result


def paintings_of_jobs(here: Ground, files: Sequence[HostileFile], *, until: float) -> Result:
    """Send files as paintings of optimisations of one small photo."""
    result = Result("paintings of optimisations")
    photo = f"{here.put([HostileFile('photo.png', saved(picture(), 'PNG'))])}photo.png"
    paintings = _addresses(here, files)
    jobs = []
    for start in range(0, len(paintings), 50):
        request = JobRequest(
            input=JobInput(uris=(photo,)),
            method="optimize",
            paintings=paintings[start : start + 50],
            optimize=Optimize(options={"size_px": 48, "iterations": 1, "scales": 1}, preview_every=0),
        )
        jobs.append(here.hostile.submit(request))
    for job in jobs:
        _judge_items(here, _ended(here, job, until, result), result)
    return result


def paintings_of_styles(here: Ground, files: Sequence[HostileFile], *, until: float) -> Result:
    """Send files as paintings of trainings whose other fields are valid. Accepted trainings are cancelled."""
    result = Result("paintings of styles")
    data = here.put(HostileFile(name, data) for name, data in small_photos(4).items())
    for file, address in zip(files, _addresses(here, files), strict=True):
        if time.monotonic() > until:
            break
        result.sent += 1
        request = TrainRequest(name="painted", painting=address, data=data, steps=1)
        try:
            run = here.hostile.runs.train(request)
            here.hostile.runs.cancel(run.id)
            result.ends["taken"] += 1
        except ApiError as error:
            result.ends[error.code] += 1
            if error.status >= 500 or error.code not in ("request_invalid", "too_large"):
                result.problems.append(f"{file.name} as a painting: {error.status} {error.code}")
        except (NstError, httpx.HTTPError) as error:
            result.problems.append(f"{file.name} as a painting: {error}")
    return result


def training_data(here: Ground, files: Iterable[HostileFile], *, until: float) -> Result:
    """Train a tiny style on hostile photos mixed with a few good ones."""
    result = Result("photos of a training")
    good = [HostileFile(name, data) for name, data in small_photos(24).items()]
    data = here.put([*good, *files])
    painting = f"{here.put([HostileFile('painting.png', saved(picture(size=(160, 120)), 'PNG'))])}painting.png"
    request = TrainRequest(
        name="trained", painting=painting, data=data, steps=40, options=_TINY, held_out=2, initial="none"
    )
    run = _ended_run(here, here.hostile.runs.train(request), until)
    result.sent = 1
    result.ends[str(run.status)] += 1
    if str(run.status) != "succeeded":
        result.problems.append(f"the training {run.id} is {run.status} after {run.step} steps: {run.error}")
    return result


def imported_weights(here: Ground, count: int, *, seed: int, until: float) -> Result:
    """Import hostile weights, and stylize a photo with those that are accepted."""
    result = Result("imported weights")
    photo = f"{here.put([HostileFile('photo.png', saved(picture(), 'PNG'))])}photo.png"
    jobs: list[Job] = []
    for number, file in enumerate(hostile_weights(count, seed=seed)):
        if time.monotonic() > until:
            break
        result.sent += 1
        name = f"weights{number}"
        try:
            here.hostile.import_style(name, file.data, {})
            result.ends["taken"] += 1
            request = JobRequest(input=JobInput(uris=(photo,)), styles=(name,))
            jobs.append(here.hostile.submit(request))
        except ApiError as error:
            result.ends[error.code] += 1
            if error.status >= 500 or error.code not in ("weights_invalid", "too_large", "request_invalid"):
                result.problems.append(f"{file.name}: {error.status} {error.code}")
        except (NstError, httpx.HTTPError) as error:
            result.problems.append(f"{file.name}: {error}")
    for job in jobs:
        _judge_items(here, _ended(here, job, until, result), result, also={"weights_invalid"})
    return result


def requests(here: Ground, count: int, *, seed: int, until: float) -> Result:
    """Send hostile requests to every route."""
    result = Result("requests")
    address = urlsplit(here.stack.url)
    document = httpx.get(f"{here.stack.url}/openapi.json", timeout=60, trust_env=False).json()
    job = here.hostile.submit(JobRequest(input=JobInput(uris=("s3://nst/tenants/hostile/none.jpg",)), styles=(STYLE,)))
    known = {"job_id": job.id, "item_id": "0", "name": STYLE, "upload_id": here.hostile.create_upload().id}
    known |= {"path": "a/b.jpg", "tenant_id": "hostile", "client_id": "mine"}
    made = hostile_requests(document, count=count, seed=seed, key=here.hostile_key, known=known)
    answers = send_all(made, host=str(address.hostname), port=address.port or 80, until=until)
    result.sent = sum(answers.statuses.values())
    result.ends = Counter({str(status or "none"): number for status, number in answers.statuses.items()})
    result.problems += [f"5xx: {each}" for each in answers.broken]
    result.problems += [f"no answer: {each}" for each in answers.silent]
    result.answers = answers
    return result


def _addresses(here: Ground, files: Sequence[HostileFile]) -> tuple[str, ...]:
    prefix = here.put(files)
    return tuple(f"{prefix}{file.name}" for file in files)


def _ended(here: Ground, job: Job, until: float, result: Result) -> Job:
    """Return a job when it ends, or in its current state when the time is over."""
    while not job.status.is_terminal and time.monotonic() < until:
        time.sleep(0.25)
        job = here.hostile.job(job.id)
    if not job.status.is_terminal:
        result.problems.append(f"{job.id} is {job.status} when time is up: {job.counts}")
        here.hostile.cancel(job.id)
    return job


def _ended_run(here: Ground, run: Run, until: float) -> Run:
    while not run.status.is_terminal and time.monotonic() < until:
        time.sleep(0.25)
        run = here.hostile.runs.get(run.id)
    if not run.status.is_terminal:
        here.hostile.runs.cancel(run.id)
    return run


def _judge_items(here: Ground, job: Job, result: Result, *, also: Iterable[str] = ()) -> None:
    """Count how the items of a job ended, and list those with a result that is not allowed."""
    allowed = codes_of(ImageError, BlobTooLargeError) | set(also)
    for item in here.hostile.items(job.id):
        result.sent += 1
        code = str(item.status) if item.error is None else item.error.code
        result.ends[code] += 1
        where = PurePosixPath(BlobUri.parse(item.input).key).name
        if not item.status.is_terminal or (item.error is not None and item.error.code not in allowed):
            message = "" if item.error is None else f": {item.error.message}"
            result.problems.append(f"{where} with {item.style} is {code}{message}")
