"""Run a worker: `python -m worker`, configured by `NST_*` variables (see worker/settings.py).

`python -m worker --probe` prints what it would compute with, as JSON, and ends.
"""

import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError
from pydantic_settings import SettingsError

from nst_core.errors import ConfigError
from nst_core.extras import install_command
from nst_core.settings import describe, unknown_variables
from nst_core.system.c_kernels import build_in_background
from nst_core.system.files import own_folder, usable_cache_folder
from nst_core.system.logs import tell
from nst_core.system.memory import bound_kernels
from worker.settings import WorkerSettings

#: Exit code for settings that cannot be used; the number is that of `sysexits.h`.
EX_CONFIG = 78


def main() -> int:
    """Run a worker and return its exit code."""
    # By default OpenMP's threads spin while they wait for each other after every layer. Decoders, encoders and other
    # programs need those cores, and a network then takes twice its time. The variable is read once, when torch is
    # loaded; hence the late import.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    bound_kernels()
    for warning in unknown_variables():
        tell(warning, role="worker", level=logging.WARNING)
    try:
        settings = WorkerSettings()
        # torch loads machine code from this folder, by default from one in /tmp that anybody could have made. It is
        # checked here, like the folder for training photos, so that a wrong folder does not fail the worker's jobs.
        compiled = own_folder(usable_cache_folder(settings.cache_dir) / "compiled")
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(compiled))
        # Compilers take as long as Python takes for the imports below.
        build_in_background(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]))
        from worker.app import probe, run_worker

        if "--probe" in sys.argv[1:]:
            print(json.dumps(asdict(probe(settings))))
            return 0
        return run_worker(settings)
    except ModuleNotFoundError as error:
        reason = f"the Python package {error.name} is missing; {install_command('worker')} installs it."
        tell(f"The worker cannot start: {reason}", role="worker")
        return EX_CONFIG
    except (ConfigError, ValidationError, SettingsError) as error:
        problem = error.message if isinstance(error, ConfigError) else describe(error)
        tell(f"The worker cannot start: {problem}", role="worker")
        return EX_CONFIG


def leave(code: int) -> NoReturn:
    """End the process immediately; everything must be closed by now.

    Python's own exit searches the objects of torch and Celery for cycles once more and frees them one by one. That
    takes half a second of processor time, and up to ten seconds on a busy machine, in which a worker seems to ignore
    SIGTERM.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main())
