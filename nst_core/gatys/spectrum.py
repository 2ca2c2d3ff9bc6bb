"""How much a loss curves at each frequency and colour of a picture, as the steps of an optimizer show it."""

import torch
from torch import Tensor

#: Bands in an octave, and the lowest frequency of all, in 1/px: what is below it belongs to the first band.
PER_OCTAVE, LOWEST = 2, 1 / 256
#: A band's steps may be longer or shorter than the mean by this factor.
RANGE = 10.0
#: How much earlier steps count, for each step since.
DECAY = 0.7
#: Before the first step, a frequency f in 1/px has the weight (f + 0.01) ** START.
START = -0.5
#: A share of the whole that does not matter.
_LEAST = 1e-12
#: Brightness, red against blue, and green against both, which are almost independent in pictures (Ohta, Kanade, Sakai
#: 1980, "Color Information for Region Segmentation").
COLOURS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (-1.0, 2.0, -1.0))


class Spectrum:
    """The first guess of an inverse Hessian: a number for each band of frequencies, for brightness and two colours.

    In a band, the length of a step over that of the change of the gradient is what the inverse Hessian does there. Both
    are relative to the whole step and the whole change: the optimizer finds a factor that all bands share. Ours:
    quasi-Newton methods in the literature begin with a multiple of the identity (Nocedal & Wright 2006, equation 7.20).
    """

    def __init__(self, canvas: Tensor) -> None:
        """Begin with a usual spectrum; `canvas` is 1 x C x H x W, with C 1 or 3."""
        channels, (height, width) = canvas.shape[1], canvas.shape[-2:]
        rows, columns = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
        frequencies = torch.hypot(rows[:, None], columns[None])  # H x (W / 2 + 1)
        numbers = (PER_OCTAVE * torch.log2(frequencies.clamp_min(LOWEST) / LOWEST)).round().long()
        self._numbers = numbers.to(canvas.device)
        # Sums over sorted parts, because those over scattered ones depend on chance on GPUs.
        self._order = numbers.flatten().argsort(stable=True).to(canvas.device)
        self._counts = numbers.flatten().bincount().tolist()
        # Of the columns between the first and the last, each stands for its negative frequency too.
        twice = torch.full((width // 2 + 1,), 2.0)
        twice[0] = 1.0
        if width % 2 == 0:
            twice[-1] = 1.0
        self._twice = twice.to(canvas.device)
        colours = torch.nn.functional.normalize(torch.tensor(COLOURS)) if channels == 3 else torch.ones(1, 1)
        self._colours = colours.to(canvas)
        #: C x H x (W / 2 + 1)
        self._weights = (frequencies + 0.01).pow(START).expand(channels, -1, -1).to(canvas.device)
        #: Of steps and changes, by colour and band: squared lengths as shares of the whole, added up. 2 x C x bands.
        self.sums = canvas.new_zeros(2, channels, len(self._counts))

    def smoothed(self, x: Tensor) -> Tensor:
        """Return a picture times the first guess."""
        parts = torch.fft.irfft2(self._transformed(x) * self._weights, s=x.shape[-2:], norm="ortho")
        result: Tensor = torch.einsum("cd,chw->dhw", self._colours, parts)
        return result[None]

    def learn(self, step: Tensor, change: Tensor) -> Tensor:
        """Take over what a step and the change of the gradient show; return change . smoothed(change)."""
        steps, changes = self._energy(step), self._energy(change)
        shares = torch.stack([self._by_band(steps) / steps.sum(), self._by_band(changes) / changes.sum()])
        self.restore(DECAY * self.sums + shares)
        return (changes * self._weights).sum()

    def restore(self, sums: Tensor) -> None:
        """Continue from the sums of an earlier spectrum of the same size."""
        self.sums = sums
        steps, changes = sums
        # A band in which nothing has moved is like the mean of all.
        lengths = ((steps + _LEAST) / (changes + _LEAST)).sqrt().clamp(1 / RANGE, RANGE)
        self._weights = lengths[:, self._numbers]

    def _transformed(self, x: Tensor) -> Tensor:
        """Return the frequencies of a picture by colour, C x H x (W / 2 + 1)."""
        result: Tensor = torch.fft.rfft2(torch.einsum("cd,dhw->chw", self._colours, x[0]), norm="ortho")
        return result

    def _energy(self, x: Tensor) -> Tensor:
        """Return the squared lengths of the frequencies of a picture by colour."""
        return torch.view_as_real(self._transformed(x)).square().sum(-1) * self._twice

    def _by_band(self, energy: Tensor) -> Tensor:
        return torch.stack(
            [part.sum(-1) for part in torch.split(energy.flatten(1)[:, self._order], self._counts, 1)], 1
        )
