"""Bodies of requests and responses about runs. Unknown fields are refused."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, JsonValue, StringConstraints

from nst_core.training.scales import STRENGTHS, STROKES
from nst_core.training.sources import few_photos
from scheduler.api.bodies import Body, PinnedStyle, Uri
from scheduler.api.pages import Page
from scheduler.api.schemas import ErrorView
from scheduler.api.times import moment, moment_if
from scheduler.domain.runs import Run, RunStatus, SegmentState
from scheduler.runs.files import Sample
from scheduler.runs.paintings import Painting
from scheduler.runs.requests import (
    DEFAULT_HELD_OUT,
    DEFAULT_PRESET,
    DEFAULT_SAMPLE_EVERY,
    MAX_SAMPLES,
    RunRequest,
)
from scheduler.runs.resources import ForkRequest
from scheduler.runs.service import RunDetails

#: Stricter than for look-ups: names become parts of results' names, where . and .. would be folders.
NewStyleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Options = Annotated[dict[Annotated[str, StringConstraints(max_length=64)], JsonValue], Field(max_length=100)]
MAX_STEPS = 100_000_000
Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
Stroke = Annotated[float, Field(ge=STROKES[0], le=STROKES[1])]
Strength = Annotated[float, Field(ge=STRENGTHS[0], le=STRENGTHS[1])]


class TrainBody(Body):
    """The training of a style. In a form, it is the part `request`, and the painting a part of its own."""

    name: NewStyleName
    painting: Uri | None = Field(None, description="An address; in a form, the part `painting` is the file itself.")
    data: Uri | None = Field(None, description="All photos below an address; those of the scheduler if not given.")
    preset: str = Field(DEFAULT_PRESET, max_length=64, description="See /v1/training-presets.")
    steps: Steps | None = Field(None, description="Those of the preset if not given.")
    stroke: Stroke = Field(1.0, description="Size of the strokes.")
    strength: Strength = Field(1.0, description="Pull of the style, against that of the photo.")
    seed: int = Field(0, ge=0, le=2**63 - 1)
    options: Options = Field({}, description="Fields of the preset's config with other values.")
    initial: PinnedStyle | None = Field(
        None, description="The style to begin with, NAME or NAME@VERSION, or none; the preset's if not given."
    )
    samples: Annotated[tuple[Uri, ...], Field(max_length=MAX_SAMPLES)] = Field((), description="Photos to stylize.")
    sample_every: int = Field(DEFAULT_SAMPLE_EVERY, ge=0, le=MAX_STEPS, description="Steps between samples; 0: none.")
    held_out: int = Field(DEFAULT_HELD_OUT, ge=0, le=1000, description="Photos to measure the style on.")
    publish: bool = Field(True, description="Whether the style's name stands for the result as soon as there is one.")
    exact: bool = Field(False, description="The same bytes at each repeat, several times slower.")
    about: Annotated[dict[str, JsonValue], Field(max_length=100)] = Field(
        {}, description="For the style's card: title, artist, year, rights, data."
    )

    def to_request(self, painting: str | Painting) -> RunRequest:
        """Return the request as the service takes it."""
        return RunRequest(**{**dict(self), "painting": painting})


class ExtendBody(Body):
    """More steps for a run."""

    steps: Steps = Field(description="Counted from the run's beginning: more than it has.")


class ForkBody(Body):
    """A new run from a checkpoint of another; what is not given is as there."""

    steps: Steps = Field(description="Of the new run, which begins at 0.")
    name: NewStyleName | None = None
    step: int | None = Field(
        None, ge=0, le=MAX_STEPS, description="Of a checkpoint that was kept; the newest if not given."
    )
    options: Options = Field({}, description="Fields of the run's config with other values.")
    strength: Strength | None = Field(None, description="If given, the style's weights are balanced anew.")
    stroke: Stroke | None = None
    publish: bool | None = None

    def to_request(self) -> ForkRequest:
        """Return the request as the service takes it."""
        return ForkRequest(**dict(self))


class PhotosView(BaseModel):
    """What a run has found of its training photos."""

    count: int = Field(description="Those that are trained on, skipped ones included.")
    held_out: int
    skipped: int
    reasons: dict[str, str] = Field(description="Why photos were skipped, by name; the first hundred.")
    warning: str | None

    @classmethod
    def of(cls, run: Run) -> Self:
        """Return what a worker has reported, or what was listed before there was a worker."""
        if run.photos is not None:
            return cls.model_validate(run.photos)
        count = run.spec.photo_count
        held_out = min(run.spec.held_out, count // 2)
        return cls(count=count - held_out, held_out=held_out, skipped=0, reasons={}, warning=few_photos(count))


class CheckpointView(BaseModel):
    """A checkpoint that is kept."""

    step: int
    sha256: str
    uri: str


class ParentView(BaseModel):
    """What a run was forked from."""

    run: str
    step: int


class RunView(BaseModel):
    """A run: the training of a style."""

    id: str
    name: str = Field(description="Of the style.")
    status: RunStatus
    step: int
    steps: int
    preset: str
    stroke: float
    strength: float | None
    config: dict[str, Any] = Field(description="With the style's weights as they came out, as soon as they are known.")
    painting: str
    data: str
    photos: PhotosView
    warning: str | None
    losses: dict[str, float] | None = Field(description="Means of the weighted losses of the last steps, by term.")
    steps_per_s: float | None
    eta_s: float | None = Field(description="Seconds that are left to train.")
    note: str | None = Field(description="What the worker does besides training.")
    worker: str | None
    attempt: int
    failures: int = Field(description="Segments in a row that failed.")
    segments: int
    checkpoints: list[CheckpointView] = Field(description="The newest 100 that are kept.")
    evaluation: dict[str, Any] | None
    version: str | None = Field(description="Of the style that was made.")
    published: bool
    parent: ParentView | None
    publish: bool
    exact: bool
    about: dict[str, Any]
    error: ErrorView | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, details: RunDetails) -> Self:
        """Return the view of a run."""
        run, spec = details.run, details.run.spec
        photos = PhotosView.of(run)
        parent = spec.parent
        return cls(
            id=run.id,
            name=run.name,
            status=run.status,
            steps=run.steps,
            preset=spec.preset,
            stroke=spec.stroke,
            strength=spec.strength,
            config=run.config or spec.config,
            painting=spec.painting.uri,
            data=spec.photos,
            photos=photos,
            warning=photos.warning or spec.warning,
            **_progress(run),
            worker=run.worker,
            attempt=run.attempt,
            failures=run.failures,
            segments=details.segments,
            checkpoints=[
                CheckpointView(step=segment.to_step, sha256=segment.checkpoint.sha256, uri=segment.checkpoint.uri)
                for segment in details.kept
                if segment.checkpoint is not None
            ],
            evaluation=None if run.result is None else run.result["evaluation"],
            version=run.version,
            published=details.published,
            parent=None if parent is None else ParentView(run=parent.run, step=parent.step),
            publish=spec.publish,
            exact=spec.exact,
            about=spec.about,
            error=None if run.error_code is None else ErrorView(code=run.error_code, message=run.error_message or ""),
            created_at=moment(run.created_at),
            started_at=moment_if(run.started_at),
            finished_at=moment_if(run.finished_at),
        )


class RunPage(Page[RunView, str]):
    """A page of runs."""


class SampleView(BaseModel):
    """What the network of a run made of a photo after so many steps."""

    id: str = Field(description="Its file name.")
    name: str = Field(description="Of the photo.")
    step: int
    uri: str
    href: str = Field(description="Where the API gives the picture.")

    @classmethod
    def of(cls, sample: Sample, *, href: str) -> Self:
        """Return the view of a sample."""
        return cls(id=sample.file, name=sample.name, step=sample.step, uri=sample.uri, href=href)


class SamplePage(Page[SampleView, str]):
    """A page of the samples of a run, in the order of steps."""


def _progress(run: Run) -> dict[str, Any]:
    """Return what a run's progress says, as fields of its view."""
    progress = run.progress or {}
    at_work = run.live is SegmentState.RUNNING
    step = max(run.step, progress.get("step", 0)) if at_work else run.step
    steps_per_s: float | None = progress.get("steps_per_s") or None
    training = at_work and run.status is RunStatus.RUNNING
    return {
        "step": step,
        "losses": progress.get("losses") or None,
        "steps_per_s": steps_per_s,
        "eta_s": (run.steps - step) / steps_per_s if training and steps_per_s else None,
        "note": (progress.get("note") or None) if at_work else None,
    }
