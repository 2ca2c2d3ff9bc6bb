"""What long work asks and tells while it goes on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

_Progress = TypeVar("_Progress")


@dataclass(frozen=True, kw_only=True)
class Steering(Generic[_Progress]):
    """The strings by which a task holds an optimisation or a training."""

    #: Another iteration or step is to be begun.
    going: Callable[[], bool]
    #: Somebody will go on with what is interrupted now.
    wanted: Callable[[], bool]
    on_progress: Callable[[_Progress], None]
    #: A newer attempt exists, whose results are not to be replaced; raises BrokerUnavailableError if nobody knows.
    outdated: Callable[[], bool] = lambda: False
