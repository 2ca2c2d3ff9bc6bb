"""The first guess of a style that joins a family, in place of the mean of the family's styles."""

from dataclasses import dataclass

from torch import Tensor

from nst_core.nets.loss_network import LossNetwork
from nst_core.nets.style_predictor import StylePredictor, describing_network, guessed, load_predictor
from nst_core.nets.transformer import TransformerNet
from nst_core.styles import Family, families, version_of
from nst_core.system.pieces import Runner, at_once
from nst_core.training.config import TrainConfig
from nst_core.training.pictures import read_file


@dataclass(frozen=True, kw_only=True)
class Guess:
    """Guesses styles of a family."""

    family: TransformerNet
    predictor: StylePredictor
    #: What describes paintings.
    network: LossNetwork
    #: The SHA-256 of the predictor's file.
    sha256: str

    def __call__(self, painting: Tensor, *, on_piece: Runner = at_once) -> TransformerNet:
        """Return the network of a style of a painting, 1 x 3 x H x W RGB in 0 to 1, beside the family's identity.

        `on_piece` runs the parts of the work that take long.
        """
        return guessed(self.predictor, self.family, painting, network=self.network, on_piece=on_piece)


def guess_for(initial: TransformerNet | None, config: TrainConfig) -> Guess | None:
    """Return what guesses the style that a training begins with; None if it begins with `initial` as it is.

    There is a guess if normalisations alone learn, for one painting, `initial` has several styles, and the package has
    a style predictor for its convolutions. Draws random numbers, but leaves torch's random state as it is.
    """
    if initial is None or config.trained != "norms" or config.paintings != 1 or initial.config.paintings == 1:
        return None
    guesses = (_guess(family, initial) for family in families().values())
    return next((guess for guess in guesses if guess is not None), None)


def _guess(family: Family, initial: TransformerNet) -> Guess | None:
    """Return what guesses styles of a family, if its predictor fits a network."""
    if family.predictor is None:
        return None
    predictor = load_predictor(family.predictor)
    if not predictor.fits(initial):
        return None
    sha256 = version_of(read_file(family.predictor))
    return Guess(family=initial, predictor=predictor, network=describing_network(), sha256=sha256)
