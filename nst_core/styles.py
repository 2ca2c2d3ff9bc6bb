"""The styles that ship with nst, each with a card in `assets/styles/NAME/`. Never loads torch.

Its weights are there too, or are those of one style of a network in `assets/families/`, which names its styles in the
order of their indexes.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any

from nst_core.nets.single_styles import single_style

WEIGHTS_NAME = "style.safetensors"
CARD_NAME = "card.json"
#: The painting, and some photos with their stylizations.
SHEET_NAME = "sheet.jpg"
#: The names of a family's styles, a list in JSON.
STYLES_NAME = "styles.json"
#: A plot of the losses of the training.
PLOT_NAME = "losses.png"


@dataclass(frozen=True, kw_only=True)
class ShippedStyle:
    """A style in the package."""

    name: str
    folder: Path
    #: The weights file of a network with several styles, and the index of this one; None if it has a file of its own.
    family: tuple[Path, int] | None = None

    @property
    def card(self) -> dict[str, Any]:
        """Where the style comes from: painting, artist, year, rights, data, training."""
        card: dict[str, Any] = json.loads((self.folder / CARD_NAME).read_text())
        return card

    def weights(self) -> bytes:
        """Return the bytes of a weights file with this style alone."""
        if self.family is None:
            return (self.folder / WEIGHTS_NAME).read_bytes()
        file, index = self.family
        return single_style(file.read_bytes(), index)


def version_of(weights: bytes, index: int = 0) -> str:
    """Return the version, 64 hex digits, of a style from its weights file and its index in the network."""
    return version_of_file(sha256(weights).hexdigest(), index)


def version_of_file(file_sha256: str, index: int = 0) -> str:
    """Return what `version_of` does, from the SHA-256 of the file: the first style's version is that hash itself."""
    return file_sha256 if index == 0 else sha256(f"{file_sha256}:{index}".encode()).hexdigest()


def version_of_blend(parts: Iterable[tuple[str, float]]) -> str:
    """Return the version, 64 hex digits, of a blend from the versions and shares of its styles, in any order."""
    lines = sorted(f"{version}:{share:.3f}" for version, share in parts)
    return sha256("\n".join(["blend", *lines]).encode()).hexdigest()


def shipped_styles() -> list[ShippedStyle]:
    """Return all styles in the package, sorted by name."""
    root = Path(str(resources.files("nst_core"))) / "assets"
    places: dict[str, tuple[Path, int]] = {}
    for file in sorted(root.glob(f"families/*/{STYLES_NAME}")):
        names = json.loads(file.read_text())
        places |= {name: (file.with_name(WEIGHTS_NAME), index) for index, name in enumerate(names)}
    folders = sorted(file.parent for file in root.glob(f"styles/*/{CARD_NAME}"))
    return [
        ShippedStyle(
            name=folder.name,
            folder=folder,
            family=None if (folder / WEIGHTS_NAME).exists() else places[folder.name],
        )
        for folder in folders
    ]
