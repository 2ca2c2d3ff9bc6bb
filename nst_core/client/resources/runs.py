"""Runs: trainings of styles."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, JsonValue

from nst_core.client.resources.base import Failure, Options, Request, Resource, Uri, shown
from nst_core.client.resources.pages import Page
from nst_core.client.resources.styles import NewStyleName, PinnedStyle
from nst_core.training.scales import STRENGTHS, STROKES

DEFAULT_SAMPLE_EVERY = 250
DEFAULT_HELD_OUT = 16
MAX_SAMPLES = 8
MAX_STEPS = 100_000_000
_Steps = Annotated[int, Field(ge=1, le=MAX_STEPS)]
_Stroke = Annotated[float, Field(ge=STROKES[0], le=STROKES[1])]
_Strength = Annotated[float, Field(ge=STRENGTHS[0], le=STRENGTHS[1])]
_ABOUT = {"title": "Wheatfield with Crows", "artist": "Vincent van Gogh", "year": "1890"}


class RunStatus(StrEnum):
    """The status of a run."""

    QUEUED = "queued"  # waits for its turn
    RUNNING = "running"  # is trained, segment after segment
    EVALUATING = "evaluating"  # has all its steps; the style is being made and measured
    PAUSING = "pausing"  # a client asked for a pause; waits for the segment that a worker has started
    PAUSED = "paused"  # continues when a client says so
    CANCELLING = "cancelling"  # a client stopped it; waits for the segment that a worker has started
    CANCELLED = "cancelled"  # a client stopped it; its last checkpoint is kept
    SUCCEEDED = "succeeded"  # it has made a version of its style
    FAILED = "failed"  # it has an error code and a sentence; its last checkpoint is kept

    @property
    def is_terminal(self) -> bool:
        return self in (RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED)


class TrainRequest(Request):
    """The training of a style. In a form, it is the part `request`, and the painting is a part of its own."""

    model_config = shown(
        {
            "name": "wheatfield",
            "painting": "s3://nst/paintings/wheatfield.jpg",
            "data": "s3://nst/photos/training/",
            "preset": "standard",
            "stroke": 1.25,
            "samples": ["s3://nst/photos/harbour.jpg"],
            "about": _ABOUT,
        }
    )

    name: NewStyleName = Field(description="The name of the new style.")
    painting: Uri | None = Field(None, description="An address; in a form, the part `painting` is the file itself.")
    data: Uri | None = Field(
        None, description="The training photos: all below an address. Default: the scheduler's own photos."
    )
    family: str | None = Field(
        None,
        max_length=64,
        description="The family that the style joins, such as painters: its network is kept, and nothing but one "
        "painting's scale and shift is learned, which takes minutes. Default: the preset's, or a network of its own.",
    )
    preset: str | None = Field(
        None,
        max_length=64,
        description="A name that /v1/training-presets lists; instant is the fastest. Default: standard, or norms for a "
        "style of a family.",
    )
    steps: _Steps | None = Field(None, description="Default: the preset's.")
    stroke: _Stroke = Field(1.0, description="The size of the strokes, relative to the preset's.")
    strength: _Strength = Field(1.0, description="The weight of the style against the photo, relative to the preset's.")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="All that is random follows from it.")
    options: Options = Field({}, description="Fields of the preset's config with other values.")
    initial: PinnedStyle | None = Field(
        None,
        description="The style whose weights the training starts from, NAME or NAME@VERSION, or none. Default: "
        "the preset's. Not with a family, whose new style starts as a guess, or as the mean of its styles.",
    )
    samples: Annotated[tuple[Uri, ...], Field(max_length=MAX_SAMPLES)] = Field(
        (), description="Photos that are stylized during the training."
    )
    sample_every: int = Field(
        DEFAULT_SAMPLE_EVERY, ge=0, le=MAX_STEPS, description="Steps between two samples; 0: no samples."
    )
    held_out: int = Field(
        DEFAULT_HELD_OUT,
        ge=0,
        le=1000,
        description="Photos that are not trained on, to measure the style with; fewer if few photos can be used.",
    )
    publish: bool = Field(True, description="Let the style's name stand for the result as soon as there is one.")
    exact: bool = Field(False, description="Make the result reproducible to the byte; several times slower.")
    about: Annotated[dict[str, JsonValue], Field(max_length=100)] = Field(
        {}, description="For the style's card: title, artist, year, rights, data."
    )


class ExtendRequest(Request):
    """More steps for a run."""

    model_config = shown({"steps": 8000})

    steps: _Steps = Field(description="The new total, counted from the run's beginning.")


class ForkRequest(Request):
    """A new run from a checkpoint of another. Omitted fields keep the other run's values."""

    model_config = shown({"steps": 2000, "name": "wheatfield_bold", "strength": 1.5})

    steps: _Steps = Field(description="The steps of the new run, which begins at 0.")
    name: NewStyleName | None = Field(None, description="The name of the new style.")
    step: int | None = Field(
        None, ge=0, le=MAX_STEPS, description="The step of a kept checkpoint. Default: the newest."
    )
    options: Options = Field({}, description="Fields of the run's config with other values.")
    strength: _Strength | None = Field(
        None, description="The weight of the style, as in a new training. Default: the other run's."
    )
    stroke: _Stroke | None = Field(
        None, description="The size of the strokes, as in a new training. Default: the other run's."
    )
    publish: bool | None = Field(None, description="Let the style's name stand for the result as soon as there is one.")


class Photos(Resource):
    """What a run found out about its training photos."""

    count: int = Field(description="The photos that are trained on, skipped ones included.")
    held_out: int = Field(0, description="The photos that are not trained on, to measure the style with.")
    skipped: int = Field(0, description="The photos that cannot be used, such as damaged ones.")
    reasons: dict[str, str] = Field({}, description="Why photos were skipped, by name; the first hundred.")
    warning: str | None = Field(None, description="What may make the result worse, such as few photos.")


class KeptCheckpoint(Resource):
    """A checkpoint that is kept; the run can be forked from it."""

    step: int = Field(description="The steps after which it was made.")
    sha256: str = Field(description="The SHA-256 of the file, as hex digits.")
    uri: str = Field(description="The address of the file.")


class Parent(Resource):
    """The run and the step that a run was forked from."""

    run: str = Field(description="The id of the other run.")
    step: int = Field(description="The step of the checkpoint that the fork began with.")


class Run(Resource):
    """A run: the training of a style."""

    model_config = shown(
        {
            "id": "run_019ab5e0c8a43f9a10c2b4d1",
            "name": "wheatfield",
            "status": "running",
            "step": 1250,
            "steps": 4000,
            "family": None,
            "preset": "standard",
            "stroke": 1.25,
            "strength": 1.0,
            "config": {"steps": 4000, "batch_size": 2, "size_px": 256},
            "painting": "s3://nst/paintings/wheatfield.jpg",
            "data": "s3://nst/photos/training/",
            "photos": {
                "count": 1226,
                "held_out": 16,
                "skipped": 1,
                "reasons": {"torn.jpg": "The image is damaged."},
                "warning": None,
            },
            "warning": None,
            "losses": {"content": 91000.0, "style": 54000.0},
            "steps_per_s": 1.9,
            "eta_s": 1447.0,
            "work_s": 671.5,
            "note": None,
            "worker": "worker-2",
            "attempt": 3,
            "failures": 0,
            "segments": 2,
            "checkpoints": [
                {
                    "step": 1000,
                    "sha256": "7a" * 32,
                    "uri": "s3://nst/tenants/gallery/runs/run_019ab5e0c8a43f9a10c2b4d1/checkpoints/"
                    "00001000-2-9f3c51aa.safetensors",
                }
            ],
            "evaluation": None,
            "version": None,
            "published": False,
            "parent": None,
            "publish": True,
            "exact": False,
            "about": _ABOUT,
            "error": None,
            "created_at": "2026-11-22T12:00:00Z",
            "started_at": "2026-11-22T12:00:02Z",
            "finished_at": None,
        }
    )

    id: str = Field(description="run_ and 24 hex digits.")
    name: str = Field(description="The name of the style.")
    status: RunStatus = Field(description="What becomes of the run at the moment, or how it ended.")
    step: int = Field(description="The steps that are done.")
    steps: int = Field(description="The steps at which the training ends.")
    family: str | None = Field(None, description="The family that the style joins; null: a network of its own.")
    preset: str = Field(description="The name of the preset; `/v1/training-presets` lists them.")
    stroke: float = Field(description="The size of the strokes, relative to the preset's.")
    strength: float | None = Field(
        None, description="The weight of the style against the photo, relative to the preset's."
    )
    config: dict[str, Any] = Field(description="The config of the training.")
    painting: str = Field(description="The address of the run's own copy of the painting.")
    data: str = Field(description="The address below which the training photos are.")
    photos: Photos = Field(description="The training photos: until a worker has read them, as they were counted.")
    warning: str | None = Field(None, description="What may make the result worse, such as few photos.")
    losses: dict[str, float] | None = Field(None, description="The mean weighted losses of the last steps, by term.")
    steps_per_s: float | None = Field(None, description="The last speed, in steps a second.")
    eta_s: float | None = Field(None, description="Seconds left to train.")
    work_s: float = Field(
        0.0, description="Seconds that workers took for segments that have ended. Waiting and pauses do not count."
    )
    note: str | None = Field(None, description="What the worker does besides training.")
    worker: str | None = Field(None, description="The worker that has the present segment.")
    attempt: int = Field(0, description="The number of segments that were sent to workers, failed ones included.")
    failures: int = Field(0, description="The number of segments in a row that failed.")
    segments: int = Field(
        0, description="The number of segments that were done. A segment is about a minute of training on one worker."
    )
    checkpoints: tuple[KeptCheckpoint, ...] = Field((), description="The newest 100 that are kept.")
    evaluation: dict[str, Any] | None = Field(None, description="What was measured on the photos that were held out.")
    version: str | None = Field(None, description="The version of the style that was made.")
    published: bool = Field(False, description="Whether the style's name stands for `version`.")
    parent: Parent | None = Field(None, description="The run that this one was forked from.")
    publish: bool = Field(True, description="Whether the style's name is to stand for the result at once.")
    exact: bool = Field(False, description="Whether the result is reproducible to the byte.")
    about: dict[str, Any] = Field({}, description="What the request says of the painting, for the style's card.")
    error: Failure | None = Field(None, description="Why the run failed.")
    created_at: AwareDatetime = Field(description="When it was submitted.")
    started_at: AwareDatetime | None = Field(None, description="When a worker began its first segment.")
    finished_at: AwareDatetime | None = Field(None, description="When it ended; null again if it is continued.")


class RunPage(Page[Run, str]):
    """A page of runs."""


class Sample(Resource):
    """A photo as the network of a run stylized it after some steps."""

    model_config = shown(
        {
            "id": "harbour_00001250.jpg",
            "name": "harbour",
            "step": 1250,
            "uri": "s3://nst/tenants/gallery/runs/run_019ab5e0c8a43f9a10c2b4d1/samples/harbour_00001250.jpg",
            "href": "/v1/runs/run_019ab5e0c8a43f9a10c2b4d1/samples/harbour_00001250.jpg",
        }
    )

    id: str = Field(description="Its file name.")
    name: str = Field(description="The name of the photo.")
    step: int = Field(description="The steps of the training after which it was made.")
    uri: str = Field(description="The address of the picture in the storage.")
    href: str = Field(description="The path at which the API serves the picture.")


class SamplePage(Page[Sample, str]):
    """A page of the samples of a run, in the order of steps."""
