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

from nst_core.nets.chosen_styles import chosen_styles

WEIGHTS_NAME = "style.safetensors"
CARD_NAME = "card.json"
#: The painting, and some photos with their stylizations.
SHEET_NAME = "sheet.jpg"
#: The names of a family's styles, a list in JSON.
STYLES_NAME = "styles.json"
#: A network that guesses styles of the family for paintings.
PREDICTOR_NAME = "predictor.safetensors"
#: The paintings that it was trained on, as CSV.
PAINTINGS_NAME = "paintings.csv"
#: A plot of the losses of the training.
PLOT_NAME = "losses.png"
#: The name of a family's last style, if that leaves photos as they are.
IDENTITY = "identity"
_ASSETS = Path(str(resources.files("nst_core"))) / "assets"


@dataclass(frozen=True, kw_only=True)
class Family:
    """A network in the package whose styles share all convolutions."""

    name: str
    #: The weights file.
    file: Path
    #: The names of the styles, in the order of their indexes.
    styles: tuple[str, ...]

    @property
    def predictor(self) -> Path | None:
        """The file of the network that guesses styles of this family, if there is one."""
        file = self.file.with_name(PREDICTOR_NAME)
        return file if file.exists() else None

    @property
    def has_identity(self) -> bool:
        """Whether the last style leaves photos as they are."""
        return self.styles[-1] == IDENTITY

    def weights(self, *names: str) -> bytes:
        """Return the bytes of a weights file with some styles, and the identity if there is one; none: with all."""
        chosen = names or self.styles
        if self.has_identity and IDENTITY not in chosen:
            chosen = (*chosen, IDENTITY)
        indexes = [self.styles.index(name) for name in chosen]
        return chosen_styles(self.file.read_bytes(), indexes, identity=self.has_identity)


@dataclass(frozen=True, kw_only=True)
class ShippedStyle:
    """A style in the package."""

    name: str
    folder: Path
    #: The family of the style; None if it has a weights file of its own.
    family: Family | None = None

    @property
    def card(self) -> dict[str, Any]:
        """Where the style comes from: painting, artist, year, rights, data, training."""
        card: dict[str, Any] = json.loads((self.folder / CARD_NAME).read_text())
        return card

    @property
    def place(self) -> tuple[Path, int]:
        """The weights file in the package, and the index of the style in its network."""
        if self.family is None:
            return self.folder / WEIGHTS_NAME, 0
        return self.family.file, self.family.styles.index(self.name)

    def weights(self) -> bytes:
        """Return the bytes of a weights file whose first style this is; the identity of its family is the second."""
        return (self.folder / WEIGHTS_NAME).read_bytes() if self.family is None else self.family.weights(self.name)


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


def families() -> dict[str, Family]:
    """Return all families in the package, by name."""
    files = sorted(_ASSETS.glob(f"families/*/{STYLES_NAME}"))
    return {
        file.parent.name: Family(
            name=file.parent.name,
            file=file.with_name(WEIGHTS_NAME),
            styles=tuple(json.loads(file.read_text())),
        )
        for file in files
    }


def shipped_styles() -> list[ShippedStyle]:
    """Return all styles in the package, sorted by name."""
    owners = {name: family for family in families().values() for name in family.styles}
    folders = sorted(file.parent for file in _ASSETS.glob(f"styles/*/{CARD_NAME}"))
    return [
        ShippedStyle(
            name=folder.name,
            folder=folder,
            family=None if (folder / WEIGHTS_NAME).exists() else owners[folder.name],
        )
        for folder in folders
    ]
