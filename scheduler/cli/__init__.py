"""The command line: `nst`. It speaks to the API through the HTTP client only."""

import sys

_OWN = ("nst_core", "scheduler", "worker")


def main() -> None:
    """Run the command of the process's arguments and exit; a missing extra of the installation is named."""
    # A part of httpx that imports much and is not used here; an entry None makes its import fail, which httpx expects.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    try:
        from scheduler.cli.app import main as start

        start()
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name in _OWN:
            raise
        message = f"nst: error: The Python package {name} is missing. Install the command line with pip install "
        sys.exit(f"{message}'nst[cli]', a scheduler with 'nst[scheduler]', or all for this machine with 'nst[local]'.")
