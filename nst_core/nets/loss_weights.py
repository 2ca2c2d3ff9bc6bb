"""Finds the weights of a loss network: in a file, in the package, or as torchvision's official download.

The tensors of a file are named as in torchvision's models (`features.0.weight`, `layer1.0.conv1.weight`). safetensors
and .pth files are read, only the requested tensors of them, and pickled code never runs.
"""

import os
import re
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from importlib import resources
from pathlib import Path
from typing import Protocol
from urllib.request import Request, urlopen
from uuid import uuid4

import torch
from safetensors import safe_open
from torch import Tensor

from nst_core.errors import ConfigError, WeightsError

#: Mean and standard deviation of RGB in 0-1 that torchvision's weights expect.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
#: Mean of RGB that Caffe's VGG weights expect, in 0-1.
CAFFE_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
#: The largest tap of VGG's first layer is about 0.7 for an input of 0-255, and 38 for a normalised one.
CAFFE_LARGEST_TAP = 5.0

FIRST_LAYER = "features.0.weight"
#: The largest of torchvision's files that requests may name has 575 MB.
MAX_DOWNLOAD_BYTES = 2**30
#: Seconds of silence after which a download fails.
_SILENCE_S = 30.0
_HEADERS = {"User-Agent": "nst"}
_PIECE_BYTES = 2**20


class Places(Protocol):
    """Where files of weights are. `nst_core.settings.LossWeightsSettings` reads it from variables."""

    @property
    def loss_weights(self) -> Path | None:
        """A file or a folder, or None."""
        ...

    @property
    def loss_weights_url(self) -> str:
        """The address of torchvision's official files or of a mirror."""
        ...


@dataclass(frozen=True, kw_only=True)
class WeightsSource:
    """The files with the weights of one network, and the input that these expect."""

    network: str
    #: File names in a folder, best first.
    files: tuple[str, ...]
    #: Torchvision's file, whose name ends with the first digits of its SHA-256.
    official: str | None = None
    #: Files in the package, in the order of the layers; a file is read only if one of its layers is needed.
    bundled: tuple[str, ...] = ()
    #: Trained with Caffe: a file may expect BGR in 0-255 minus the mean, and is then converted.
    caffe: bool = False
    #: Mean and standard deviation of the input, RGB in 0-1.
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """Tensors by torchvision's names, for an input of RGB in 0-1 minus `mean`, divided by `std`."""

    state: Mapping[str, Tensor]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


#: The VGG networks by name. Caffe's are Simonyan & Zisserman's own, under the names of Johnson's conversions.
VGG_SOURCES = {
    source.network: source
    for source in (
        WeightsSource(
            network="vgg16",
            files=("vgg16-00b39a1b.pth", "vgg16_caffe.safetensors", "vgg16_caffe.pth"),
            bundled=("vgg16_relu4_3_fp16.safetensors", "vgg16_block5_fp16.safetensors"),
            caffe=True,
        ),
        WeightsSource(
            network="vgg16_torchvision",
            files=("vgg16-397923af.pth", "vgg16_torchvision.safetensors", "vgg16_torchvision.pth"),
            official="vgg16-397923af.pth",
        ),
        WeightsSource(
            network="vgg19",
            files=("vgg19-dcbb9e9d.pth", "vgg19.safetensors", "vgg19.pth"),
            official="vgg19-dcbb9e9d.pth",
        ),
        WeightsSource(
            network="vgg19_caffe",
            files=("vgg19-d01eb7cb.pth", "vgg19_caffe.safetensors", "vgg19_caffe.pth"),
            caffe=True,
        ),
    )
}


def load_weights(
    source: WeightsSource,
    shapes: Mapping[str, torch.Size],
    *,
    weights: Path | None,
    settings: Places,
    on_bytes: Callable[[], object] = lambda: None,
) -> LossWeights:
    """Return the tensors named in `shapes`, from the first place that has a file for the network.

    The places: `weights`, a file or a folder; the one in `settings`; the package; torchvision's official download, in
    torch's usual cache. Raises WeightsError if there is no file, or it is damaged or of another network.
    """
    state: dict[str, Tensor] = {}
    path = Path()
    for path in find_files(source, weights=weights, settings=settings, on_bytes=on_bytes):
        missing = shapes.keys() - state.keys()
        if missing:
            state |= read_tensors(path, missing)
    _check_tensors(state, shapes, where=f"{path} does not fit {source.network}")
    if source.caffe and state[FIRST_LAYER].abs().max() < CAFFE_LARGEST_TAP:
        return fold_caffe(state)
    return LossWeights(state=state, mean=source.mean, std=source.std)


def find_files(
    source: WeightsSource,
    *,
    weights: Path | None,
    settings: Places,
    on_bytes: Callable[[], object] = lambda: None,
) -> tuple[Path, ...]:
    """Return the files that together hold the network's weights; download them if they are nowhere else."""
    for place in (weights, settings.loss_weights):
        if place is None:
            continue
        if not place.is_dir():
            return (refuse_other(source, place),)
        for name in source.files:
            if (place / name).is_file():
                return (place / name,)
        if place is weights:
            raise WeightsError(f"The folder {place} has no weights of {source.network}: {advice(source)}.")
    if source.bundled:
        assets = Path(str(resources.files("nst_core"))) / "assets"
        return tuple(assets / name for name in source.bundled)
    if source.official is None:
        raise WeightsError(f"The weights of {source.network} are not on this machine: {advice(source)}.")
    return (download(source, source.official, base_url=settings.loss_weights_url, on_bytes=on_bytes),)


def advice(source: WeightsSource) -> str:
    """Return advice about missing weights, as the end of a sentence."""
    return f"put {' or '.join(source.files)} into a folder, and set NST_LOSS_WEIGHTS to the folder"


def refuse_other(source: WeightsSource, path: Path) -> Path:
    """Return `path`; raise WeightsError if it is the file of another network, whose tensors may fit but are useless."""
    for other in VGG_SOURCES.values():
        if other.network != source.network and path.name in other.files:
            raise WeightsError(f"{path} holds the weights of {other.network}, not of {source.network}.")
    return path


def download(
    source: WeightsSource, official: str, *, base_url: str, on_bytes: Callable[[], object] = lambda: None
) -> Path:
    """Return torchvision's file in torch's cache (TORCH_HOME); download it and check its checksum if it is missing."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / official
    if path.exists():
        return path
    if not base_url.startswith(("https://", "http://")):
        raise ConfigError(f"NST_LOSS_WEIGHTS_URL is an address that begins with https:// or http://, not {base_url!r}.")
    url = f"{base_url.rstrip('/')}/{official}"
    checksum = path.stem.rpartition("-")[2]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, path, checksum, on_bytes)
    except (OSError, HTTPException, ValueError) as error:
        raise WeightsError(
            f"The weights of {source.network} cannot be downloaded from {url} ({error}): {advice(source)}."
        ) from error
    return path


def _fetch(url: str, path: Path, checksum: str, on_bytes: Callable[[], object]) -> None:
    """Download a file whose SHA-256 begins with `checksum`, completely or not at all.

    torch.hub is not used, because it reports no progress.
    """
    digest, size = sha256(), 0
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with part.open("xb") as file, urlopen(Request(url, headers=_HEADERS), timeout=_SILENCE_S) as answer:
            while piece := answer.read(_PIECE_BYTES):
                size += len(piece)
                if size > MAX_DOWNLOAD_BYTES:
                    raise WeightsError(f"{url} has more than {MAX_DOWNLOAD_BYTES:,} bytes, which is the limit.")
                digest.update(piece)
                file.write(piece)
                on_bytes()
            file.flush()
            os.fsync(file.fileno())  # nothing checks a file of this name again, so that a power cut may not shorten it
        found = digest.hexdigest()[: len(checksum)]
        if found != checksum:
            raise WeightsError(
                f'What came from {url} has the wrong checksum (expected "{checksum}", not "{found}"): it is damaged.'
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_tensors(path: Path, names: Collection[str]) -> dict[str, Tensor]:
    """Return the named tensors that a file contains; raise WeightsError if it cannot be read."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in set(names).intersection(file.keys())}
        # Files of torch before 1.6 cannot be mapped, and are read whole, most often with layers that nobody needs.
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        return {name: tensor for key, tensor in state.items() if (name := modern_name(key)) in names}
    except Exception as error:  # on other files the readers fail in any way
        raise WeightsError(f"{path} is damaged or not a weights file: {first_line(error)}") from error


def read_network(path: Path, shapes: Mapping[str, torch.Size], *, what: str) -> dict[str, Tensor]:
    """Return the tensors named in `shapes` of a file; raise WeightsError if it cannot be read, or is not `what`."""
    state = read_tensors(path, shapes)
    _check_tensors(state, shapes, where=f"{path} is not {what}")
    return state


def _check_tensors(state: Mapping[str, Tensor], shapes: Mapping[str, torch.Size], *, where: str) -> None:
    for key, shape in shapes.items():
        if key not in state:
            raise WeightsError(f"{where}: it has no {key}.")
        check_tensor(state[key], shape, where=f"{where}: {key}")


def modern_name(key: str) -> str:
    """Return the present name of a tensor: torchvision's DenseNet files have `norm.1` for what is now `norm1`."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", key)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, without the advice that torch appends."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def check_tensor(tensor: object, shape: torch.Size, *, where: str) -> None:
    """Raise WeightsError, beginning with `where`, unless `tensor` is a tensor of finite numbers of that shape."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        raise WeightsError(f"{where} is not a tensor of floating-point numbers.")
    if tensor.shape != shape:
        raise WeightsError(f"{where} has the shape {list(tensor.shape)}, not {list(shape)}.")
    if not tensor.isfinite().all():
        raise WeightsError(f"{where} has values that are not finite.")


def fold_caffe(state: Mapping[str, Tensor]) -> LossWeights:
    """Fold Caffe's input, BGR in 0-255 less the mean m, into the first layer, for RGB in 0-1, x, normalised.

    With n = (x - m / 255) / s the old input of a channel is 255 x - m = 255 s n, so its taps take the factor 255 s, and
    the channels change their order. The bias stays, and so does the zero padding: n is 0 just where 255 x - m is. With
    torchvision's mean, another one, padding would stand for another colour than in Caffe.
    """
    factor = 255 * torch.tensor(STD).view(1, 3, 1, 1)
    first = state[FIRST_LAYER].float().flip(1) * factor  # 64 x 3 x 3 x 3
    return LossWeights(state={**state, FIRST_LAYER: first}, mean=CAFFE_MEAN, std=STD)
