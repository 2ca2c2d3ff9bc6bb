"""Tests of nst_core.nets.safetensors_files."""

import io
import tracemalloc

import torch
from safetensors.torch import load

from nst_core.nets.safetensors_files import write_safetensors

TENSORS = {
    "double": torch.rand(3, dtype=torch.float64),
    "turned": torch.rand(4, 5).T,
    "half": torch.rand(2, 2).bfloat16(),
    "flag": torch.tensor(True),
    "count": torch.tensor(7),
    "bytes": torch.arange(3, dtype=torch.uint8),
    "none": torch.empty(0, 9),
}


def test_a_file_has_the_tensors_and_texts_that_safetensors_reads() -> None:
    file = io.BytesIO()
    write_safetensors(file, TENSORS, {"about": "a test"})
    found = load(file.getvalue())
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    again = io.BytesIO()
    write_safetensors(again, dict(reversed(TENSORS.items())), {"about": "a test"})
    assert again.getvalue() == file.getvalue()


def test_no_copy_of_the_tensors_is_made() -> None:
    state = {"history": torch.zeros(4 * 2**20)}  # 16 MiB

    class Nowhere(io.RawIOBase):
        nbytes = 0

        def write(self, data: object) -> int:
            self.nbytes += memoryview(data).nbytes  # type: ignore[arg-type]
            return 0

    tracemalloc.start()
    file = Nowhere()
    write_safetensors(file, state, {})  # type: ignore[arg-type]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert file.nbytes > 16 * 2**20
    assert most < 2**20
