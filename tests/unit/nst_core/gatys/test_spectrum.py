"""The first guess of an inverse Hessian, learned for each band of frequencies."""

import pytest
import torch
from torch import Tensor

from nst_core.gatys.spectrum import RANGE, Spectrum

pytestmark = pytest.mark.usefixtures("one_thread")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def filtered(x: Tensor, power: float) -> Tensor:
    """Return a picture whose frequencies f are multiplied by (f + 1 / 64) ** power."""
    rows, columns = torch.fft.fftfreq(x.shape[-2]), torch.fft.rfftfreq(x.shape[-1])
    factors = (torch.hypot(rows[:, None], columns[None]) + 1 / 64).pow(power)
    result: Tensor = torch.fft.irfft2(torch.fft.rfft2(x) * factors, s=x.shape[-2:])
    return result


def angle(a: Tensor, b: Tensor) -> float:
    return float(a.flatten().dot(b.flatten()) / (a.norm() * b.norm()))


@pytest.mark.parametrize("size", [(32, 32), (31, 40), (20, 33)])
def test_it_learns_how_a_loss_curves_from_a_step(size: tuple[int, int]) -> None:
    step = normal(1, 3, *size)
    change = filtered(step, 1.0)
    spectrum = Spectrum(step)
    before = angle(spectrum.smoothed(change), step)
    spectrum.learn(step, change)
    assert angle(spectrum.smoothed(change), step) > max(0.98, before)
    assert angle(change, step) < 0.96


@pytest.mark.parametrize("size", [(32, 32), (31, 40), (20, 33)])
def test_learning_returns_the_product_of_a_change_and_its_smoothed_self(size: tuple[int, int]) -> None:
    step, change = normal(1, 3, *size), normal(1, 3, *size, seed=1)
    spectrum = Spectrum(step)
    product = spectrum.learn(step, change)
    torch.testing.assert_close(product, (change * spectrum.smoothed(change)).sum(), rtol=1e-4, atol=0)


def test_a_factor_of_all_bands_does_not_matter() -> None:
    step, x = normal(1, 3, 24, 24), normal(1, 3, 24, 24, seed=1)
    guesses = []
    for factor in (1e-6, 1.0, 1e6):
        spectrum = Spectrum(step)
        spectrum.learn(step, factor * filtered(step, 0.5))
        guesses.append(spectrum.smoothed(x))
    torch.testing.assert_close(guesses[0], guesses[1])
    torch.testing.assert_close(guesses[2], guesses[1])


@pytest.mark.parametrize("power", [-6.0, 6.0])
def test_no_band_is_trusted_beyond_the_range(power: float) -> None:
    step = normal(1, 1, 32, 32)
    spectrum = Spectrum(step)
    spectrum.learn(step, filtered(step, power))
    gains = torch.fft.rfft2(spectrum.smoothed(step)).abs() / torch.fft.rfft2(step).abs()
    assert gains.min() > 1 / RANGE - 1e-3
    assert RANGE - 1e-2 < gains.max() < RANGE + 1e-2


def test_it_learns_how_a_loss_curves_for_brightness_and_for_colours() -> None:
    step = normal(1, 3, 32, 32)
    grey = step.mean(1, keepdim=True)
    change = grey + 5 * (step - grey)
    spectrum = Spectrum(step)
    spectrum.learn(step, change)
    assert angle(spectrum.smoothed(change), step) > 0.98
    assert angle(change, step) < 0.92


def test_the_steps_before_count_less() -> None:
    rising, falling = Spectrum(normal(1, 3, 32, 32)), Spectrum(normal(1, 3, 32, 32))
    for seed in range(8):
        step = normal(1, 3, 32, 32, seed=seed)
        rising.learn(step, filtered(step, -1.0 if seed < 4 else 1.0))
        falling.learn(step, filtered(step, 1.0 if seed < 4 else -1.0))
    x = normal(1, 3, 32, 32, seed=9)
    assert angle(rising.smoothed(filtered(x, 1.0)), x) > angle(falling.smoothed(filtered(x, 1.0)), x)


def test_before_the_first_step_low_frequencies_are_longer() -> None:
    x = normal(1, 3, 32, 32)
    gains = torch.fft.rfft2(Spectrum(x).smoothed(x)).abs() / torch.fft.rfft2(x).abs()
    assert gains[0, 0, 0, 1] > 2 * gains[0, 0, 16, 16]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (3, 1)])
def test_pictures_of_a_few_pixels_have_a_spectrum(size: tuple[int, int]) -> None:
    step, change = normal(1, 3, *size), normal(1, 3, *size, seed=1)
    spectrum = Spectrum(step)
    product = spectrum.learn(step, change)
    torch.testing.assert_close(product, (change * spectrum.smoothed(change)).sum(), rtol=1e-4, atol=1e-6)


def test_colours_that_have_not_moved_are_like_the_mean() -> None:
    step = normal(1, 1, 16, 16).expand(1, 3, 16, 16)
    spectrum = Spectrum(step)
    spectrum.learn(step, 2 * step)
    red = torch.zeros(1, 3, 16, 16)
    red[:, 0] = normal(1, 16, 16, seed=2)
    torch.testing.assert_close(spectrum.smoothed(red), red, rtol=1e-3, atol=1e-3)


def test_a_restored_spectrum_is_the_same() -> None:
    step = normal(1, 3, 20, 33)
    spectrum, restored = Spectrum(step), Spectrum(step)
    spectrum.learn(step, filtered(step, 0.5))
    restored.restore(spectrum.sums.clone())
    assert torch.equal(restored.smoothed(step), spectrum.smoothed(step))
    change = filtered(step, -0.5)
    assert torch.equal(restored.learn(step, change), spectrum.learn(step, change))
