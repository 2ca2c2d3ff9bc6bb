"""`python -m scheduler` runs a scheduler that is configured by `NST_*` variables."""

import logging
import sys

from pydantic import ValidationError
from pydantic_settings import SettingsError

from nst_core.errors import NstError, StorageIdentityError
from nst_core.extras import install_command
from nst_core.settings import DecoderSettings, describe, unknown_variables
from nst_core.system.logs import tell

#: Exit codes, as `sysexits.h` numbers them: for what passes by itself, and for settings that cannot be used.
EX_TEMPFAIL, EX_CONFIG = 75, 78


def main() -> int:
    """Run a scheduler and return its exit code; what keeps it from starting becomes one line."""
    for warning in unknown_variables():
        tell(warning, role="scheduler", level=logging.WARNING)
    try:
        # Here, and not at the top: a package that is missing is to be told like all else.
        from scheduler.app import run_scheduler
        from scheduler.settings import SchedulerSettings

        settings = SchedulerSettings()
        DecoderSettings()  # otherwise a wrong one would fail the first request with a picture
        run_scheduler(settings)
    except ModuleNotFoundError as error:
        return _fail(f"the Python package {error.name} is missing; {install_command('scheduler')} installs it.")
    except (ValidationError, SettingsError) as error:
        return _fail(describe(error))
    except NstError as error:
        # Another process may have better credentials, but this one's do not get better.
        passes = error.retryable and not isinstance(error, StorageIdentityError)
        return _fail(error.message, EX_TEMPFAIL if passes else EX_CONFIG)
    except OSError as error:
        return _fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    return 0


def _fail(reason: str, code: int = EX_CONFIG) -> int:
    tell(f"The scheduler cannot start: {' '.join(reason.split())}", role="scheduler")
    return code


if __name__ == "__main__":
    sys.exit(main())
