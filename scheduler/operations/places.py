"""Which installation a command is about: the one in a home folder, or the one of the settings in the environment."""

import os

from scheduler.cli.session import DEFAULT_HOME, Session
from scheduler.local.home import Home


def home_of(session: Session, *, unless: str) -> Home | None:
    """Return the home folder of `nst up`, or None if the environment has the settings.

    A home folder that is named with --home or NST_HOME is meant in any case; otherwise the one of the user, if it
    exists and the variable `unless` is not set.
    """
    home = Home(session.home)
    is_named = session.home != DEFAULT_HOME
    return home if is_named or (unless not in os.environ and home.folder.is_dir()) else None
