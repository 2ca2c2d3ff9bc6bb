"""What long work asks and reports while it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

_Progress = TypeVar("_Progress")


@dataclass(frozen=True, kw_only=True)
class Steering(Generic[_Progress]):
    """The callbacks by which a task controls an optimisation or a training."""

    #: Returns whether another iteration or step should begin.
    going: Callable[[], bool]
    #: Returns whether interrupted work will be continued later, so that its state should be saved.
    wanted: Callable[[], bool]
    on_progress: Callable[[_Progress], None]
    #: Records that a long iteration is at work and not stuck.
    touch: Callable[[], None] = lambda: None
    #: Returns whether a newer attempt exists, whose results must not be replaced; raises BrokerUnavailableError if
    #: Redis does not answer.
    outdated: Callable[[], bool] = lambda: False
