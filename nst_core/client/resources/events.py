"""Events: what happens to jobs and runs, as streams and webhooks tell it."""

from enum import StrEnum
from typing import Any

from pydantic import AwareDatetime, Field

from nst_core.client.resources.base import Resource


class EventType(StrEnum):
    """What an event tells."""

    JOB_CREATED = "job.created"
    JOB_STARTED = "job.started"  # a worker has begun its first images
    JOB_PROGRESS = "job.progress"  # the counts have changed; at most once a second
    JOB_FINALIZING = "job.finalizing"  # every item is terminal
    JOB_PAUSED = "job.paused"
    JOB_RESUMED = "job.resumed"  # continues after a pause, or after its end
    JOB_CANCELLING = "job.cancelling"  # waits for the images that workers have started
    JOB_COMPLETED = "job.completed"  # has its last status
    RUN_CREATED = "run.created"
    RUN_STARTED = "run.started"  # a worker has begun the first segment
    RUN_CHECKPOINT = "run.checkpoint"  # a segment has ended with a checkpoint
    RUN_PAUSED = "run.paused"
    RUN_RESUMED = "run.resumed"  # continues after a pause, or after its end
    RUN_COMPLETED = "run.completed"  # has its last status

    @property
    def is_terminal(self) -> bool:
        return self in TERMINAL


TERMINAL = (EventType.JOB_COMPLETED, EventType.RUN_COMPLETED)


class Event(Resource):
    """Something that happened to a job or a run."""

    id: int = Field(description="Increases with time; a stream continues after the event of a given id.")
    type: str = Field(description="An `EventType`, or one that only a newer API knows.")
    timestamp: AwareDatetime
    data: dict[str, Any]

    @property
    def is_last(self) -> bool:
        return self.type in TERMINAL
