"""What checks find, and how they run: side by side, each for a limited time, none stopped by another."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from nst_core.extras import install_command

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

_S = TypeVar("_S", bound="BaseSettings")
#: The extra of nst that installs a package; others are in `cluster`.
_EXTRAS = {
    **dict.fromkeys(("sqlalchemy", "alembic", "psycopg", "fastapi", "uvicorn", "cryptography"), "scheduler"),
    **dict.fromkeys(("torch", "safetensors", "openvino"), "worker"),
}


class Status(StrEnum):
    """How well something is."""

    OK = "ok"
    WARNING = "warning"  # it works, but slowly, not for long, or nobody knows
    PROBLEM = "problem"  # something does not work
    SKIPPED = "skipped"  # it was not checked


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check has found."""

    #: The name of the check.
    check: str
    status: Status
    #: What was found, or why nothing was checked; a sentence.
    found: str
    #: A stable name of a warning or a problem.
    code: str | None = None
    #: What to do about it.
    remedy: str | None = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """Checks that run one after the other."""

    #: Their names. The first ones are what the others need.
    names: tuple[str, ...]
    #: Yields findings. What is yielded last may be nothing, if the first checks find a problem.
    run: Callable[[], Iterator[Finding]]
    limit_s: float = 10.0


class UncheckableError(Exception):
    """Something cannot be checked, because the settings that it needs are not valid."""


def read(settings: type[_S]) -> _S:
    """Return settings from the environment; raise UncheckableError if they are not valid."""
    # Here, because an installation may have neither this package nor any settings.
    from pydantic_settings import SettingsError

    from nst_core.settings import describe

    try:
        return settings()
    except (ValidationError, SettingsError) as error:
        raise UncheckableError(describe(error)) from None


def ok(check: str, found: str) -> Finding:
    """Return that all is well."""
    return Finding(check=check, status=Status.OK, found=found)


def warning(check: str, code: str, found: str, remedy: str) -> Finding:
    """Return what may become a problem."""
    return Finding(check=check, status=Status.WARNING, code=code, found=found, remedy=remedy)


def problem(check: str, code: str, found: str, remedy: str) -> Finding:
    """Return what is wrong."""
    return Finding(check=check, status=Status.PROBLEM, code=code, found=found, remedy=remedy)


def skipped(check: str, why: str) -> Finding:
    """Return why something was not checked."""
    return Finding(check=check, status=Status.SKIPPED, found=why)


def skipping(names: Sequence[str], why: str) -> Iterator[Finding]:
    """Yield why some checks are skipped."""
    return (skipped(name, why) for name in names)


@dataclass(kw_only=True)
class _Running:
    check: Check
    found: list[Finding] = field(default_factory=list)
    #: Makes the finding of a name without one.
    end: Callable[[str], Finding] = field(default=lambda name: _unreached(name))

    def __post_init__(self) -> None:
        # A daemon: a check that hangs must not keep the process from its end.
        self.thread = threading.Thread(target=self._run, name=self.check.names[0], daemon=True)

    def _run(self) -> None:
        try:
            for finding in self.check.run():
                self.found.append(finding)
        except UncheckableError as error:
            why = f"The settings that it needs are not valid ({str(error).partition(' ')[0]})."
            self.end = lambda name: skipped(name, why)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            extra = _EXTRAS.get(package, "cluster")
            missing = f"The Python package {package} is not installed here; {install_command(extra)} installs it."
            self.end = lambda name: skipped(name, missing)
        except Exception as error:  # noqa: BLE001 - the other checks have to go on
            reason = f"The check itself failed: {type(error).__name__}: {error}"
            self.end = lambda name: problem(name, "check_failed", reason, "Report it, it is a fault of nst.")

    def findings(self) -> list[Finding]:
        """Return a finding for each name, in their order."""
        found, end = {finding.check: finding for finding in [*self.found]}, self.end
        if self.thread.is_alive():
            end = self._late
        results = []
        for name in self.check.names:
            if name not in found:
                found[name] = end(name)
                if found[name].status is Status.PROBLEM:
                    end = _unreached
            results.append(found[name])
        return results

    def _late(self, name: str) -> Finding:
        found = f"There was no answer within {self.check.limit_s:g} s."
        return problem(name, "check_timed_out", found, "Look at what it asks, and at the network.")


def _unreached(name: str) -> Finding:
    return skipped(name, "It needs what is missing above.")


def run_all(checks: Sequence[Check]) -> list[Finding]:
    """Run all checks side by side, and return their findings in order."""
    running = [_Running(check=check) for check in checks]
    started = time.monotonic()
    for each in running:
        each.thread.start()
    for each in running:
        each.thread.join(max(0.0, started + each.check.limit_s - time.monotonic()))
    return [finding for each in running for finding in each.findings()]
