"""Digests of the weights on this machine, to find damaged files. Never loads torch."""

import os
import re
from collections.abc import Iterator
from hashlib import file_digest
from importlib import resources
from pathlib import Path

#: The digests of the weights in the package, in the format of sha256sum.
SUMS_NAME = "SHA256SUMS"
#: torchvision's files end with the first digits of their SHA-256.
_NAMED = re.compile(r".+-([0-9a-f]{8})\.pth")


def assets() -> Path:
    """Return the folder of the package with weights."""
    return Path(str(resources.files("nst_core"))) / "assets"


def torch_cache() -> Path:
    """Return the folder of what torch downloads, which may not exist."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(base, "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex; raise OSError if it cannot be read."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def listed(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file that the list of digests in a folder names, with its digest."""
    for line in (folder / SUMS_NAME).read_text().splitlines():
        digest, _, name = line.partition("  ")
        yield folder / name, digest


def named(place: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file, of a folder or a single one, that has the first digits of its digest in its name, with these."""
    for path in sorted(place.iterdir()) if place.is_dir() else [place]:
        match = _NAMED.fullmatch(path.name)
        if match and path.is_file():
            yield path, match[1]


def is_intact(path: Path, digest: str) -> bool:
    """Return whether the SHA-256 of a file begins with some digits; not if it cannot be read."""
    try:
        return sha256_of(path).startswith(digest)
    except OSError:
        return False
