"""Hostile weights files for imports: valid headers with one change, and inflated headers."""

import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nst_core.nets.weights_header import CONFIG_KEY
from tests.hostile.files import HostileFile

_ODD: tuple[Any, ...] = (None, -1, 2**63, 10**30, 0.5, [], {}, "F32", [0, 2**62], [-1, 1], [[]], True, "\0", ["x"] * 99)


def sound_weights() -> bytes:
    """Return the weights file of a tiny network."""
    from nst_core.nets.transformer import TransformerNet
    from nst_core.nets.transformer_config import TransformerConfig
    from nst_core.nets.weights import save_transformer

    with TemporaryDirectory() as folder:
        save_transformer(TransformerNet(TransformerConfig(width=2, blocks=0)), Path(folder) / "w")
        return (Path(folder) / "w").read_bytes()


def hostile_weights(count: int, *, seed: int) -> Iterator[HostileFile]:
    """Yield weights files: first those with a deep, long or false header, then mutated ones."""
    sound = sound_weights()
    length = int.from_bytes(sound[:8], "little")
    header, tensors = json.loads(sound[8 : 8 + length]), sound[8 + length :]
    grown = list(_grown(header, tensors))
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        if number < len(grown):
            data = grown[number]
        elif rng.random() < 0.6:
            data = packed(json.dumps(_changed(header, rng)).encode(), tensors)
        else:
            changed = bytearray(sound)
            for _ in range(rng.choice((1, 4, 40))):
                changed[rng.randrange(len(changed) if rng.random() < 0.5 else 8 + length)] = rng.randrange(256)
            data = bytes(changed[: rng.randrange(len(changed)) if rng.random() < 0.2 else len(changed)])
        yield HostileFile(f"{number:05d}.safetensors", data)


def packed(header: bytes, tensors: bytes = b"", *, length: int | None = None) -> bytes:
    """Return a safetensors file with an unchecked header. `length` is the header length that the file claims."""
    return struct.pack("<Q", len(header) if length is None else length) + header + tensors


def _grown(header: dict[str, Any], tensors: bytes) -> Iterator[bytes]:
    for times in (10, 1000, 100_000):
        yield packed(b'{"a":' * times + b"1" + b"}" * times, tensors)
        yield packed(b'{"a":' + b"[" * times + b"]" * times + b"}", tensors)
        yield packed(json.dumps(header | {f"t{n}": header["head.bias"] for n in range(times)}).encode(), tensors)
        yield packed(json.dumps(header).encode() + b" " * times, tensors)
        yield packed(b'{"n":' + b"1" * times + b"}", tensors)
        deep = {CONFIG_KEY: "[" * times + "]" * times}
        yield packed(json.dumps(header | {"__metadata__": deep}).encode(), tensors)
    for length in (0, 1, 2**20 + 1, 2**32, 2**63, 2**64 - 1):
        yield packed(json.dumps(header).encode(), tensors, length=length)
    for values in ({"width": 512, "blocks": 64}, {"width": 10**9}, {"blocks": 10**9}, {"width": 2, "blocks": -1}):
        yield packed(json.dumps(header | {"__metadata__": {CONFIG_KEY: json.dumps(values)}}).encode(), tensors)
    yield packed(json.dumps(header).encode(), b"\xff" * len(tensors))  # not numbers


def _changed(header: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(header))
    key = rng.choice(list(changed))
    match rng.randrange(5):
        case 0:
            del changed[key]
        case 1:
            changed[key] = rng.choice(_ODD)
        case 2 if key != "__metadata__":
            changed[key][rng.choice(("dtype", "shape", "data_offsets"))] = rng.choice(_ODD)
        case 3:
            config = json.loads(changed["__metadata__"][CONFIG_KEY])
            config[rng.choice((*config, "x"))] = rng.choice(_ODD)
            changed["__metadata__"] = {CONFIG_KEY: json.dumps(config)}
        case _:
            changed[rng.choice(("x", "", "a" * 1000, "\0"))] = changed[key]
    return changed
