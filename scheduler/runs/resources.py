"""What clients send and get about the training of styles: frozen values like the API's JSON."""

from dataclasses import dataclass, field
from typing import Any

from scheduler.domain.runs import Parent, RunStatus
from scheduler.resources import Failure

DEFAULT_TRAIN_PRESET = "standard"


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What `Client.runs.train` asks for. None leaves a choice to the API."""

    #: Of the style that is to be.
    name: str
    #: s3:// address; None where the painting is sent along.
    painting: str | None = None
    #: s3:// prefix of the training photos; None: those that the scheduler has of its own.
    data: str | None = None
    preset: str = DEFAULT_TRAIN_PRESET
    steps: int | None = None
    #: Size of the strokes, times that of the preset.
    stroke: float = 1.0
    #: Weight of the style against that of the photo, times the one where both pull alike.
    strength: float = 1.0
    seed: int = 0
    #: Fields of the preset's config with other values.
    options: dict[str, Any] = field(default_factory=dict)
    #: The style whose weights the training begins with, as NAME or NAME@VERSION, or "none"; None: the preset's choice.
    initial: str | None = None
    #: s3:// addresses of photos to stylize as the training goes on.
    samples: tuple[str, ...] = ()
    sample_every: int | None = None
    #: So many photos are left out of the training and measure its result.
    held_out: int | None = None
    #: The style's name stands for the result as soon as there is one.
    publish: bool = True
    #: The same bytes at each repeat, several times slower.
    exact: bool = False
    #: For the style's card: title, artist, year, rights, data.
    about: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ForkRequest:
    """What `Client.runs.fork` asks for: a new run from a checkpoint of another. None keeps what that one has."""

    #: Of the new run; it begins at 0.
    steps: int
    name: str | None = None
    #: Of a checkpoint that was kept; None: the newest.
    step: int | None = None
    #: Fields of the training's config that differ from the other run's.
    options: dict[str, Any] = field(default_factory=dict)
    #: If given, the style's weights are balanced anew.
    strength: float | None = None
    stroke: float | None = None
    publish: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Photos:
    """What a run has found of its training photos."""

    count: int
    held_out: int = 0
    skipped: int = 0
    #: Why photos were skipped, by name; the first hundred.
    reasons: dict[str, str] = field(default_factory=dict)
    warning: str | None = None


@dataclass(frozen=True, kw_only=True)
class KeptCheckpoint:
    """A step that the run can be forked from."""

    step: int
    sha256: str
    uri: str


@dataclass(frozen=True, kw_only=True)
class Run:
    """The training of a style as the API shows it. Times are RFC 3339."""

    id: str
    #: Of the style.
    name: str
    status: RunStatus
    step: int
    steps: int
    preset: str | None = None
    stroke: float | None = None
    strength: float | None = None
    #: As far as it is known.
    config: dict[str, Any] | None = None
    painting: str | None = None
    data: str | None = None
    photos: Photos | None = None
    warning: str | None = None
    #: Weighted terms of the last steps, and their sum as `total`.
    losses: dict[str, float] | None = None
    steps_per_s: float | None = None
    #: Seconds that are left to train.
    eta_s: float | None = None
    #: What the worker does besides training.
    note: str | None = None
    worker: str | None = None
    attempt: int = 0
    #: In a row.
    failures: int = 0
    segments: int = 0
    checkpoints: tuple[KeptCheckpoint, ...] = ()
    #: What was measured on photos that were held out.
    evaluation: dict[str, Any] | None = None
    #: Of the style that was made.
    version: str | None = None
    published: bool = False
    parent: Parent | None = None
    publish: bool = True
    exact: bool = False
    about: dict[str, Any] = field(default_factory=dict)
    error: Failure | None = None
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What the network made of a photo after so many steps."""

    name: str
    step: int
    uri: str
    #: Path of the picture at the API.
    href: str

    @property
    def file_name(self) -> str:
        """The picture's name among the samples of its run."""
        return self.uri.rpartition("/")[2]
