"""Tests of nst_core.inference.eager: isolation of photos, errors."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from nst_core.errors import ConfigError, ImageTooLargeError, ImageTooSmallError, WeightsError
from nst_core.images import DEFAULT_MIN_SIDE_PX
from nst_core.inference.eager import EagerStylizer
from nst_core.nets.transformer import MIN_SIDE_PX, TransformerConfig, TransformerNet
from nst_core.nets.weights import save_transformer

pytestmark = pytest.mark.usefixtures("one_thread")


def photos(count: int = 1, height: int = 24, width: int = 33, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def stylizer() -> EagerStylizer:
    torch.manual_seed(0)
    net = TransformerNet(TransformerConfig(width=8, blocks=1))
    net.head.weight.data.mul_(10)  # an untrained head gives almost plain grey
    return EagerStylizer(net)


def test_the_result_is_that_of_the_network(stylizer: EagerStylizer) -> None:
    batch = photos(2)
    result = stylizer(batch)
    assert result.shape == batch.shape
    assert result.dtype == np.uint8
    image = torch.from_numpy(batch).permute(0, 3, 1, 2) / 255
    expected = (stylizer.net(image).clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(result - expected).max() <= 1
    assert result.std() > 5


def test_a_photos_result_does_not_depend_on_its_batch(stylizer: EagerStylizer) -> None:
    batch = photos(5)
    together = stylizer(batch)
    for photo, result in zip(batch, together, strict=True):
        np.testing.assert_array_equal(stylizer(photo[None])[0], result)


@pytest.mark.parametrize("shape", [(24, 33, 3), (1, 3, 24, 33), (1, 24, 33, 4)])
def test_another_shape_is_refused(stylizer: EagerStylizer, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="N x H x W x 3"):
        stylizer(np.zeros(shape, np.uint8))


def test_another_type_is_refused(stylizer: EagerStylizer) -> None:
    with pytest.raises(ConfigError, match="float64"):
        stylizer(photos().astype(np.float64))


@pytest.mark.parametrize(("height", "width"), [(15, 40), (40, 15)])
def test_a_side_under_the_smallest_is_refused(stylizer: EagerStylizer, height: int, width: int) -> None:
    with pytest.raises(ImageTooSmallError, match=f"{width} x {height}"):
        stylizer(photos(1, height, width))
    assert stylizer(photos(1, 16, 16)).shape == (1, 16, 16, 3)


def test_decoding_and_the_network_agree_on_the_smallest_side() -> None:
    assert DEFAULT_MIN_SIDE_PX == MIN_SIDE_PX


def test_an_empty_batch_gives_an_empty_batch(stylizer: EagerStylizer) -> None:
    assert stylizer(photos(0)).shape == (0, 24, 33, 3)


def test_read_only_and_strided_arrays_are_accepted_and_not_changed(stylizer: EagerStylizer) -> None:
    batch = photos(2)
    expected = stylizer(batch)
    batch.flags.writeable = False
    np.testing.assert_array_equal(stylizer(batch), expected)
    np.testing.assert_array_equal(stylizer(batch[::-1])[::-1], expected)
    mirrored = np.ascontiguousarray(batch[:, :, ::-1])
    np.testing.assert_array_equal(stylizer(mirrored[:, :, ::-1]), expected)
    np.testing.assert_array_equal(batch, photos(2))


def test_threads_can_share_a_stylizer(stylizer: EagerStylizer) -> None:
    batches = [photos(1, 20 + i, 30, seed=i) for i in range(12)]
    expected = [stylizer(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for result, alone in zip(pool.map(stylizer, batches), expected, strict=True):
            np.testing.assert_array_equal(result, alone)


def test_nbytes_counts_every_weight(stylizer: EagerStylizer) -> None:
    assert stylizer.nbytes == 4 * sum(p.numel() for p in stylizer.net.parameters())
    batch_norm = EagerStylizer(TransformerNet(TransformerConfig(width=8, blocks=1, norm="batch")))
    assert batch_norm.nbytes > stylizer.nbytes


def test_a_batch_norm_network_uses_its_stored_statistics() -> None:
    net = TransformerNet(TransformerConfig(width=8, blocks=1, norm="batch"))
    stylizer = EagerStylizer(net)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    stylizer(photos(2))
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=0, atol=0)


def test_load_takes_a_path_or_bytes(stylizer: EagerStylizer, tmp_path: Path) -> None:
    path = tmp_path / "style.safetensors"
    save_transformer(stylizer.net, path)
    from_path, from_bytes = EagerStylizer.load(path), EagerStylizer.load(path.read_bytes())
    np.testing.assert_array_equal(from_path(photos()), from_bytes(photos()))
    assert np.abs(from_path(photos()).astype(int) - stylizer(photos())).max() <= 2  # weights are stored as float16
    with pytest.raises(WeightsError):
        EagerStylizer.load(b"not weights")


class Starved(TransformerNet):
    """Runs out of memory for its first photos, as a GPU may."""

    def __init__(self, failures: int) -> None:
        super().__init__(TransformerConfig(width=4, blocks=0))
        self.failures = failures

    def forward(self, x: Tensor, styles: Tensor | None = None) -> Tensor:
        self.failures -= 1
        if self.failures >= 0:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(x)


def test_a_photo_that_ran_out_of_memory_is_retried_once() -> None:
    photo = np.zeros((1, 16, 20, 3), np.uint8)
    assert EagerStylizer(Starved(1))(photo).shape == photo.shape
    with pytest.raises(ImageTooLargeError, match="20 x 16 pixels, for which the GPU has too little memory"):
        EagerStylizer(Starved(2))(photo)
