"""Submissions whose answer never came: the same command finds what the first one may have made.

The key of such a submission is kept in the cache folder for some hours. After an answer it is forgotten, so a command
that is typed again makes something new.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from nst_core.client import ApiError, Client, UnreachableError
from nst_core.client.requests import body_of
from nst_core.client.resources.base import Request
from nst_core.errors import ConfigError
from nst_core.system.files import cache_folder, own_folder, write_private
from scheduler.cli.exits import ExitCode
from scheduler.cli.session import Session

#: Less than the 48 hours that the API remembers keys, and too short for a command of the next day.
KEPT_S = 6 * 3600.0
_FILE = "unanswered.json"


@contextmanager
def submitting(
    session: Session, client: Client, request: Request, *, thing: str, listing: str, place: str = ""
) -> Iterator[str]:
    """Give the key for a submission, which is that of an earlier one if its answer never came.

    If this answer does not come either, print how to go on. `listing` is the command that lists such things, `place`
    what the request does not tell, such as the run that is forked.
    """
    name = _name_of(client.url, place, json.dumps(body_of(request)))
    kept = _read()
    known = kept.pop(name, None)
    if known is not None:
        session.note(f"The answer to the same command did not come before: this one goes on with its {thing}.")
    key = known[0] if known is not None else uuid.uuid4().hex
    try:
        yield key
    except (KeyboardInterrupt, UnreachableError, ApiError) as error:
        if isinstance(error, ApiError) and not _is_open(error):
            _write(kept)
            raise
        session.note(f"\nThe {thing} may have been submitted: the answer did not come.")
        if _write({**kept, name: (key, time.time())}):
            session.note(f"Repeat the command within {KEPT_S / 3600:.0f} hours to go on with it.")
        session.hint("See whether it is there with", listing, "list")
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        raise
    if known is not None:
        _write(kept)


def _is_open(error: ApiError) -> bool:
    """Return whether the API, or a proxy before it, may have done what was asked in spite of an error."""
    return error.status >= 500 or error.code == "idempotency_in_flight"


def _name_of(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def _read() -> dict[str, tuple[str, float]]:
    """Return the keys of unanswered submissions, and when these were made; none if the file is missing or damaged."""
    try:
        values = json.loads((cache_folder() / _FILE).read_text())
        found = {str(name): (str(key), float(at)) for name, (key, at) in values.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
    return {name: (key, at) for name, (key, at) in found.items() if 0 <= time.time() - at < KEPT_S}


def _write(kept: dict[str, tuple[str, float]]) -> bool:
    """Keep keys; return whether that was possible, as it is not with a home folder that is read-only."""
    with suppress(OSError, ConfigError):
        folder = own_folder(cache_folder())
        write_private(folder / _FILE, json.dumps(kept))
        return True
    return False
