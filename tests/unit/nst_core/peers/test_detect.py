"""Files from users: old formats and names that are accepted, and files that are refused."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nst_core.errors import WeightsError
from nst_core.nets.transformer import TransformerConfig, TransformerNet
from nst_core.nets.weights import save_transformer
from nst_core.peers.detect import identify
from tests.unit.nst_core.peers.readings import lengstrom_variables, npz_file, pytorch_examples_state, torch_file

pytestmark = pytest.mark.usefixtures("one_thread")

STATE, VARIABLES = pytorch_examples_state(), lengstrom_variables()
PTH, LEGACY, NPZ = torch_file(STATE), torch_file(STATE, zipped=False), npz_file(VARIABLES)


def same(a: TransformerNet, b: TransformerNet) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return a.config == b.config and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def with_statistics(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict as PyTorch before 0.4 stored it, and as a batch normalisation stores it."""
    more: dict[str, Tensor] = {}
    for key in state:
        if ".in" in f".{key}" and key.endswith(".weight"):
            layer = key.removesuffix("weight")
            more |= {f"{layer}running_mean": torch.zeros(3), f"{layer}running_var": torch.ones(3)}
            more[f"{layer}num_batches_tracked"] = torch.tensor(7)
    assert len(more) == 3 * 9
    return state | more


@pytest.mark.parametrize(
    "state",
    [
        OrderedDict(STATE),
        with_statistics(STATE),
        {f"module.{key}": value for key, value in with_statistics(STATE).items()},
        {key: nn.Parameter(value) for key, value in STATE.items()},
        {key: value.double() for key, value in STATE.items()},
        {
            key: value.to(memory_format=torch.channels_last) if value.ndim == 4 else value
            for key, value in STATE.items()
        },
        {f"_orig_mod.{key}": value for key, value in STATE.items()},
        {f"module._orig_mod.{key}": value for key, value in STATE.items()},
        {f"_orig_mod.module.{key}": value for key, value in with_statistics(STATE).items()},
        {key.replace(".conv2d", "._orig_mod.conv2d"): value for key, value in STATE.items()},
        {f"model.net.{key}": value for key, value in STATE.items()}
        | {f"loss.vgg.{number}.weight": torch.zeros(3) for number in range(3)},
        {"epoch": 2, "state_dict": OrderedDict(STATE), "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}},
        {"model": STATE, "ema": {key: value + 1 for key, value in STATE.items()}, "step": 1000},
        {"args": {"lr": 0.1}, "checkpoint": {"weights": {f"module.{key}": value for key, value in STATE.items()}}},
    ],
    ids=[
        "plain",
        "statistics",
        "module",
        "parameters",
        "double",
        "turned",
        "compiled",
        "compiled and parallel",
        "parallel and compiled",
        "compiled in parts",
        "beside a loss network",
        "checkpoint",
        "with averages",
        "deep inside",
    ],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before 1.6"])
def test_state_dicts_of_all_versions_give_the_same_network(state: dict[str, Tensor], zipped: bool) -> None:
    assert same(identify(torch_file(state, zipped=zipped)).net, identify(PTH).net)


@pytest.mark.parametrize(
    "variables",
    [
        {f"{key}:0": value for key, value in VARIABLES.items()},
        {key: value.astype(">f4") for key, value in VARIABLES.items()},
        {key: np.asfortranarray(value) for key, value in VARIABLES.items()},
    ],
    ids=["outputs", "big-endian", "fortran"],
)
def test_other_names_and_layouts_of_variables_are_accepted(variables: dict[str, Any]) -> None:
    assert same(identify(npz_file(variables)).net, identify(NPZ).net)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_numbers_are_used_unchanged(dtype: torch.dtype) -> None:
    halved = {key: value.to(dtype) for key, value in STATE.items()}
    rounded = {key: value.float() for key, value in halved.items()}
    assert same(identify(torch_file(halved)).net, identify(torch_file(rounded)).net)


def test_a_checkpoint_that_contains_itself_is_handled() -> None:
    content: dict[str, Any] = {"a": {}, "b": {}}
    content["a"] |= {f"{number}": content for number in range(50)}
    content["b"] |= content["a"]
    with pytest.raises(WeightsError, match="holds no state dict"):
        identify(torch_file(content))
    content["b"]["model"] = STATE
    assert same(identify(torch_file(content)).net, identify(PTH).net)


def test_adam_variables_in_a_tensorflow_checkpoint_are_left_out() -> None:
    more: dict[str, Any] = {
        f"{key}/Adam{part}": np.zeros_like(value) for key, value in VARIABLES.items() for part in ("", "_1")
    }
    more |= {"beta1_power": np.array(0.9), "beta2_power": np.array(0.99), "global_step": np.array(7)}
    assert same(identify(npz_file(VARIABLES | more)).net, identify(NPZ).net)


def test_the_data_file_of_a_tensorflow_checkpoint_is_recognised_by_its_name() -> None:
    for name in ("/x/fns.ckpt.data-00000-of-00001", "wave.ckpt", "fns.ckpt.meta"):
        with pytest.raises(WeightsError, match=r"TensorFlow.*numpy\.savez"):
            identify(bytes(range(256)), name=name)
    assert same(identify(PTH, name="lightning.ckpt").net, identify(PTH).net)


def test_the_container_does_not_matter() -> None:
    assert same(identify(npz_file({key: value.numpy() for key, value in STATE.items()})).net, identify(PTH).net)
    assert same(identify(safetensors.torch.save(STATE)).net, identify(PTH).net)
    variables = {key: torch.from_numpy(value) for key, value in VARIABLES.items()}
    assert same(identify(torch_file(variables)).net, identify(NPZ).net)


def test_a_native_style_is_accepted_unchanged(tmp_path: Path) -> None:
    net = TransformerNet(TransformerConfig(width=4, blocks=1))
    save_transformer(net, tmp_path / "style.safetensors", dtype=torch.float32)
    imported = identify((tmp_path / "style.safetensors").read_bytes())
    assert imported.origin == "nst"
    assert same(imported.net, net)


class Code:
    """An object that makes a folder if a reader runs code when it unpickles it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("kind", ["torch", "torch before 1.6", "pickle", "npz"])
def test_code_in_a_file_is_refused_and_not_run(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "made_by_code"
    state = {**STATE, "conv1.conv2d.weight": Code(folder)}
    data = {
        "torch": lambda: torch_file(state),
        "torch before 1.6": lambda: torch_file(state, zipped=False),
        "pickle": lambda: pickle.dumps(state),
        "npz": lambda: npz_file({**VARIABLES, "Variable": np.array([Code(folder)], dtype=object)}),
    }[kind]()
    with pytest.raises(WeightsError, match=r"^candy (is damaged, or )?holds "):
        identify(data, name="candy")
    assert not folder.exists()
    if kind == "pickle":
        pickle.loads(data)  # so the file does hold code that runs
        assert folder.exists()


def changed(key: str, value: Tensor | None) -> bytes:
    state = {**STATE, key: value} if value is not None else {k: v for k, v in STATE.items() if k != key}
    return torch_file(state)


def without(number: int) -> bytes:
    return npz_file({key: value for key, value in VARIABLES.items() if key != f"Variable_{number}"})


def zip_of(files: dict[str, bytes], *, times: int = 1) -> bytes:
    """Return a zip archive. Its directory lists each file `times` times."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.filelist *= times
    return file.getvalue()


WRONG = {
    "empty": (b"", "is no checkpoint"),
    "text": (b"Not Found", "is no checkpoint"),
    "picture": (b"\xff\xd8\xff\xe0" + bytes(1000), "is a picture, not a checkpoint"),
    "zip without end": (PTH[:-100], "is damaged or not whole"),
    "npz without end": (NPZ[: len(NPZ) // 2], "is damaged or not whole"),
    "old without end": (LEGACY[:-100], "is damaged"),
    "pickle of a number": (pickle.dumps(7), "is damaged"),
    "safetensors without end": (safetensors.torch.save(STATE)[:-4], "is damaged"),
    "another archive": (io.BytesIO(npz_file({})).getvalue(), "is damaged"),
    "no state dict": (torch_file([torch.zeros(3)]), "holds no state dict"),
    "no tensors in it": (torch_file({"model": {"lr": 0.1}, "epoch": 3}), "holds no state dict"),
    "a whole module": (torch_file(nn.Conv2d(1, 1, 1)), r"Python objects \(torch.nn.modules.conv.Conv2d.*state_dict"),
    "a list of state dicts": (torch_file([STATE]), r"holds no state dict.*torch\.save"),
    "one tensor": (torch_file(torch.zeros(3)), "holds one tensor and no network"),
    "Lua Torch": (b"\4\0\0\0\1\0\0\0\3\0\0\0V 1" + bytes(90), "is a file of Lua Torch 7"),
    "ONNX": (b"\x08\x08\x12\x07pytorch" + bytes(200), "is an ONNX file"),
    "old TensorFlow": (bytes(400) + 0xDB4775248B80FB57.to_bytes(8, "little"), r"TensorFlow.*numpy\.savez"),
    "TensorFlow's list": (b'model_checkpoint_path: "fns.ckpt"\n', r"TensorFlow.*numpy\.savez"),
    "Keras": (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7\n", "is only a pointer of Git LFS"),
    "page": (b"\xef\xbb\xbf \n<!doctype HTML><html><title>Sign in</title></html>", "is a web page"),
    "page after a comment": (b"<!-- " * 100 + b"--><html>", "is a web page"),
    "tar": (bytes(257) + b"ustar\x0000" + bytes(600), "is an archive"),
    "gzip": (b"\x1f\x8b\x08" + bytes(100), "is an archive"),
    "zip of checkpoints": (zip_of({"saved/mosaic.pth": PTH}), r"holds saved/mosaic\.pth: unpack it"),
    "zip of nothing": (zip_of({"saved/": b""}), "without files"),
    "zip that unpacks to too much": (zip_of({"a.npy": bytes(2**20)}, times=3000), "unpacks to more than"),
    "meta tensors": (torch_file({"conv1.conv2d.weight": torch.zeros(9, device="meta")}), "holds no state dict"),
    "another network": (
        torch_file(nn.Conv2d(1, 1, 1).state_dict()),
        "no network of nst nor of .* nor of pytorch/examples nor",
    ),
    "no tensors": (torch_file({}), "no network of nst"),
    "texts": (npz_file({"Variable": np.array(["a"])}), "holds other things than numbers"),
    "a missing tensor": (changed("in3.bias", None), r"it has no tensor in3\.bias"),
    "a missing bias": (changed("conv2.conv2d.bias", None), r"it has no tensor conv2\.conv2d\.bias"),
    "an unknown tensor": (changed("in9.scale", torch.zeros(3)), r"it has an unknown tensor in9\.scale"),
    "a gap in the blocks": (changed("res1.in2.bias", None), r"it has no tensor res1\.in2\.bias"),
    "another shape": (changed("in3.bias", torch.zeros(4)), r"in3\.bias does not have the shape"),
    "a scalar": (changed("conv1.conv2d.weight", torch.zeros(())), "width must be a whole number"),
    "a width too large": (changed("conv1.conv2d.weight", torch.zeros(600, 3, 9, 9)), "width must be a whole number"),
    "whole numbers": (changed("in3.bias", torch.zeros(12, dtype=torch.int64)), r"in3\.bias does not have the shape"),
    "nan": (changed("in3.bias", torch.full((12,), torch.nan)), r"in3\.bias has values that are not finite"),
    "too large": (
        changed("in3.bias", torch.full((12,), 1e300, dtype=torch.float64)),
        r"in3\.bias has values that are not finite",
    ),
    "a missing variable": (without(7), "it has no tensor Variable_7"),
    "a missing last variable": (without(29), "it has no tensor Variable_29"),
    "one variable more": (npz_file({**VARIABLES, "Variable_30": np.zeros(3)}), "it has an unknown tensor Variable_30"),
    "the wrong order": (npz_file({**VARIABLES, "Variable_39": VARIABLES["Variable_18"]}), "unknown tensor Variable_39"),
    "one variable": (npz_file({"Variable": VARIABLES["Variable"]}), "it has no tensor Variable_1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_one_clear_error(case: str) -> None:
    data, message = WRONG[case]
    with pytest.raises(WeightsError, match=message) as caught:
        identify(data, name="candy.pth")
    assert caught.value.message.startswith("candy.pth ")
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("whole", [PTH, LEGACY, NPZ], ids=["torch", "torch before 1.6", "npz"])
@settings(max_examples=100, deadline=None)
@given(draw=st.data())
def test_a_damaged_file_gives_a_network_or_a_weights_error(draw: st.DataObject, whole: bytes) -> None:
    data = bytearray(whole)
    places = st.integers(0, 3000) | st.integers(len(data) - 3000, len(data) - 1) | st.integers(0, len(data) - 1)
    for _ in range(draw.draw(st.integers(0, 4))):
        data[draw.draw(places)] = draw.draw(st.integers(0, 255))
    del data[draw.draw(st.just(len(data)) | st.integers(0, len(data))) :]
    try:
        identify(bytes(data), name="file")
    except WeightsError as error:
        message = error.message
    else:
        message = ""
    assert not message or message.startswith("file ")
