"""Checks of the weights on this machine: undamaged, as far as their digests are known."""

from collections.abc import Iterator
from pathlib import Path

from nst_core.digests import assets, is_intact, listed, named, torch_cache
from scheduler.operations.findings import Finding, ok, problem


def check_weights(loss_weights: Path | None, *, package: Path | None = None) -> Iterator[Finding]:
    """Yield the findings about the weights in the package, in NST_LOSS_WEIGHTS, and in torch's folder of downloads."""
    yield _finding("weights_shipped", listed(package or assets()), "in the package", "Install nst again.")
    if loss_weights is not None and not loss_weights.exists():
        found = f"There is no {loss_weights}, which NST_LOSS_WEIGHTS names."
        yield problem("weights_other", "weights_missing", found, "Put the weights there, or correct NST_LOSS_WEIGHTS.")
        return
    places = [place for place in (loss_weights, torch_cache()) if place is not None]
    files = (pair for place in places for pair in named(place))
    yield _finding("weights_other", files, "of other loss networks", "Delete these files, and download them again.")


def _finding(check: str, files: Iterator[tuple[Path, str]], which: str, remedy: str) -> Finding:
    count, damaged = 0, []
    for path, digest in files:
        count += 1
        if not is_intact(path, digest):
            damaged.append(str(path))
    if damaged:
        return problem(check, "weights_damaged", f"Damaged or missing weights: {', '.join(damaged)}.", remedy)
    return ok(check, f"{count} files of weights {which} are undamaged.")
