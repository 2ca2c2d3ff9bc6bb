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
        message = f"nst: error: The Python package {name} is missing. In the checkout of nst, pip install '.[cli]' "
        sys.exit(f"{message}installs the command line, '.[scheduler]' a scheduler, and '.[local]' all of nst.")
