"""The names of what nst measures, and how code reports it. Never loads a metrics library."""

from enum import StrEnum
from typing import Protocol


class Stage(StrEnum):
    """Something in a worker that takes time."""

    # The way of an image of the method feedforward.
    FETCH = "fetch"  # read the photo's file from storage
    DECODE = "decode"
    STYLIZE = "stylize"  # run the network
    ENCODE = "encode"
    PUT = "put"  # write the result to storage
    # The engine, which all methods share.
    ENGINE_WAIT = "engine_wait"  # from the submission of a call to its start
    ENGINE_RUN = "engine_run"  # one call: an image, an iteration or a training step


class Observer(Protocol):
    """Receives how long each stage took. It is called from several threads and must not raise."""

    def __call__(self, stage: Stage, seconds: float, /) -> None:
        """Take note of one stage that was completed."""
        ...


def all_of(*observers: Observer) -> Observer:
    """Return an observer that tells several others."""

    def observe(stage: Stage, seconds: float, /) -> None:
        for each in observers:
            each(stage, seconds)

    return observe


def ignore(stage: Stage, seconds: float, /) -> None:
    """Drop a measurement; the observer of a process without metrics."""


class TickOutcome(StrEnum):
    """How one tick of a control loop of the scheduler ended."""

    WORKED = "worked"  # there was work, so the loop ticks again at once
    IDLE = "idle"
    FAULT = "fault"  # the database, Redis or the storage did not answer, or this machine failed


class TickObserver(Protocol):
    """Receives how long each tick of a control loop took. It is called from several threads and must not raise."""

    def __call__(self, loop: str, seconds: float, outcome: TickOutcome, /) -> None:
        """Take note of one tick that ended."""
        ...


def ignore_tick(loop: str, seconds: float, outcome: TickOutcome, /) -> None:
    """Drop a measurement; the observer of a process without metrics."""
