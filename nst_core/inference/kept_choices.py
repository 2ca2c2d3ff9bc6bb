"""A file that keeps which engine was chosen, so that all workers of a machine choose the same one."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError

from nst_core.errors import ConfigError
from nst_core.inference.stylizer import EngineChoice
from nst_core.system.files import open_own

_log = logging.getLogger(__name__)
#: Others are forgotten, those chosen longest ago first.
_MOST = 100
_CHOICES = TypeAdapter(dict[str, EngineChoice])


def kept(file: Path, key: str, choose: Callable[[], EngineChoice]) -> EngineChoice:
    """Return the choice that a file has for `key`; if it has none, call `choose` and keep its result.

    Processes that ask at the same time wait for the first one. If the file cannot be used, nothing is kept.
    """
    with ExitStack() as closing:
        try:
            stream = closing.enter_context(open_own(file))
            flock(stream, LOCK_EX)
            choices = _read(stream)
        except (ConfigError, OSError) as error:
            _log.warning("the choice of an engine cannot be kept: %s", error)
            return choose()
        if key not in choices:
            choices[key] = choose()
            try:
                _write(stream, dict([*choices.items()][-_MOST:]))
            except OSError as error:
                _log.warning("the choice of an engine cannot be kept: %s", error)
        return choices[key]


def _read(stream: IO[bytes]) -> dict[str, EngineChoice]:
    try:
        return _CHOICES.validate_json(stream.read())
    except ValidationError:
        return {}  # it is new, or its writer was killed


def _write(stream: IO[bytes], choices: dict[str, EngineChoice]) -> None:
    data = _CHOICES.dump_json(choices, indent=1)
    stream.seek(0)
    stream.truncate()
    stream.write(data)
