"""The methods: a class for each way to stylize photos.

The rest of the scheduler finds a method by its name. Only the routes of presets and the command line know `optimize`.

Another Python package can add a method without any change here. It declares two entry points: one of the group
`nst.scheduler.methods` that refers to a subclass of `scheduler.jobs.methods.base.Method`, and one of the group
`nst.worker.methods` that refers to a subclass of `worker.runtime.work.Work`, whose task is usually a
`worker.methods.task.ChunkTask`.
"""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points

from nst_core.errors import ConfigError
from scheduler.jobs.methods.base import Method
from scheduler.jobs.methods.feedforward import Feedforward
from scheduler.jobs.methods.optimize import Optimize

#: The group of entry points that name the classes of other packages.
ENTRY_POINTS = "nst.scheduler.methods"


@cache
def all_methods() -> Mapping[str, Method]:
    """Return all methods by name; raise ConfigError if two have the same name or the same queue."""
    added = [entry.load() for entry in entry_points(group=ENTRY_POINTS)]
    methods: list[Method] = [cls() for cls in (Feedforward, Optimize, *added)]
    found = {method.name: method for method in methods}
    if len(found) < len(methods) or len({method.queue for method in methods}) < len(methods):
        names = ", ".join(f"{method.name} (queue {method.queue})" for method in methods)
        raise ConfigError(f"Two methods have the same name or queue: {names}.")
    return found


def find_method(name: str) -> Method:
    """Return the method of a name; raise ConfigError if there is none."""
    try:
        return all_methods()[name]
    except KeyError:
        raise ConfigError(f"There is no method {name!r}; known: {', '.join(all_methods())}.") from None
