"""Turn a checkpoint of another project into a style's weights file: `python -m nst_core.peers FILE -o FILE`.

It takes the networks of pytorch/examples and of gordicaleksa/pytorch-neural-style-johnson (files of torch.save), those
of lengstrom/fast-style-transfer (TensorFlow's variables as .npz), and our own, and tells them apart by their content.
On success it prints one line of JSON. If the file cannot be used, it prints one sentence on the standard error, and
the exit code is 1.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from nst_core.errors import NstError, WeightsError
from nst_core.nets.weights import save_transformer
from nst_core.peers.containers import MAX_BYTES
from nst_core.peers.detect import identify


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line, do what it says, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m nst_core.peers", description=__doc__)
    parser.add_argument("file", type=Path, help="the checkpoint")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the weights file to write")
    parser.add_argument("--name", help="what messages call the checkpoint; its path without it")
    args = parser.parse_args(argv)
    try:
        done = convert_file(args.file, args.output, name=args.name or str(args.file))
    except NstError as error:
        print(error.message, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{args.output} cannot be written: {error.strerror}.", file=sys.stderr)
        return 1
    print(json.dumps(done))
    return 0


def convert_file(source: Path, target: Path, *, name: str) -> dict[str, object]:
    """Write the network of a checkpoint as a weights file and return what it is, as JSON-ready values."""
    try:
        # A pipe might never end.
        if source.exists() and not source.is_file():
            raise WeightsError(f"{name} is not a regular file.")
        if source.stat().st_size > MAX_BYTES:
            raise WeightsError(f"{name} has more than {MAX_BYTES:,} bytes, which is too much for a checkpoint.")
        data = source.read_bytes()
    except OSError as error:
        raise WeightsError(f"{name} cannot be read: {error.strerror}.") from error
    imported = identify(data, name=name)
    # Rounded to float16, the published networks change single pixels by up to 2 grey levels of 255, 0.02 to 0.06 on
    # average; in float32 they differ from the originals by less than 0.003.
    save_transformer(imported.net, target, dtype=torch.float32)
    parameters = sum(parameter.numel() for parameter in imported.net.parameters())
    return {"origin": imported.origin, "parameters": parameters, "config": imported.net.config.to_dict()}


if __name__ == "__main__":
    sys.exit(main())
