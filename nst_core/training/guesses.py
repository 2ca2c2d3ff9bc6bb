"""The first guess of a style that joins a family, in place of the mean of the family's styles."""

from torch import Tensor

from nst_core.nets.style_predictor import guessed, load_predictor
from nst_core.nets.transformer import TransformerNet
from nst_core.styles import families
from nst_core.training.config import TrainConfig


def with_guess(initial: TransformerNet | None, config: TrainConfig, painting: Tensor) -> TransformerNet | None:
    """Return the network that a training for one painting begins with: by a guess, or `initial` unchanged.

    There is a guess if normalisations alone learn, `initial` is a whole family, and the package has a style predictor
    for its convolutions. `painting`: 1 x 3 x H x W RGB in 0 to 1.
    """
    if initial is None or config.trained != "norms" or config.paintings != 1 or initial.config.paintings == 1:
        return initial
    for family in families().values():
        if family.predictor is not None:
            predictor = load_predictor(family.predictor)
            if predictor.fits(initial):
                return guessed(predictor, initial, painting)
    return initial
