"""The methods: a class for each way to stylize photos, as a worker sees it.

Another Python package can add a method without any change here; see `scheduler.jobs.methods`.
"""

from collections.abc import Sequence
from importlib.metadata import entry_points

from worker.runtime.work import Work

#: The group of entry points that name the classes of other packages.
ENTRY_POINTS = "nst.worker.methods"


def all_methods() -> Sequence[Work]:
    """Return all methods."""
    # Imported late: the packages of the methods are in this one.
    from worker.methods.optimize.method import Optimize
    from worker.methods.stylize.method import Feedforward

    added = [entry.load() for entry in entry_points(group=ENTRY_POINTS)]
    return [cls() for cls in (Feedforward, Optimize, *added)]
