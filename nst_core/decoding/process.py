"""The child process that decodes images. It serves one request at a time from its standard input, until that ends.

A request is a frame with JSON (the arguments of `images.decode`, and whether pixels are wanted) and the file's bytes.
The child answers with the memory that it needs and the size of the picture, and waits for one byte. Then it answers
with the picture or an error, or forgets the request. A frame consists of the lengths of its JSON and of its bytes, then
both.

The child limits itself: its memory with RLIMIT_AS, and the processor time of each image with RLIMIT_CPU, whose signal
ends it. It handles no signals. It ends with its parent, because then its input ends.
"""

import json
import logging
import os
import resource
import struct
import sys
import traceback
from typing import Any

import numpy as np

from nst_core.errors import ConfigError, ImageError, ImageTooLargeError
from nst_core.images import Limits, Picture, decode

#: The lengths of a frame's JSON and of its bytes.
HEAD = struct.Struct("<IQ")
#: The parent sends this when the child may use the memory that it asked for.
GO = b"\x01"
#: The parent sends this if it wants the image later, or from another child.
FORGET = b"\x00"
_OUT = 3


class _ParentGoneError(Exception):
    """The input ended, because the parent has ended."""


class _ForgottenError(Exception):
    """The parent does not want the image now."""


def main(arguments: list[str]) -> int:
    """Serve requests. The arguments are the limits of one image: bytes of memory and seconds of processor time."""
    memory_bytes, seconds = map(int, arguments)
    # Libraries may print to the standard output, but the parent must get frames only.
    os.dup2(1, _OUT)
    os.dup2(2, 1)
    _limit_memory(memory_bytes)
    try:
        _send({"ready": True})
        # From now on, libraries such as libtiff would print text from hostile files.
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        logging.disable()
        while True:
            _serve(seconds)
    except (_ParentGoneError, BrokenPipeError):
        return 0


def _serve(seconds: int) -> None:
    arguments, data = _receive()
    wants_pixels = arguments.pop("pixels")
    _limit_time(seconds)
    try:
        picture = decode(data, Limits(**arguments), on_size=_ask)
    except (ImageError, ConfigError) as error:
        _send({"error": type(error).__name__, "message": error.message})
    except MemoryError:
        _send({"error": ImageTooLargeError.__name__, "message": "The image needs more memory than it may take."})
    except _ForgottenError:
        pass
    except _ParentGoneError:
        raise
    except Exception:  # noqa: BLE001 - whatever a library raises on hostile bytes, only this image fails
        _send({"error": "", "message": traceback.format_exc()})
    else:
        _answer(picture, wants_pixels)


def _ask(needed: int, pixels: int) -> None:
    """Tell the parent how much memory an image takes and how many pixels it has, and wait for its permission."""
    _send({"bytes": needed, "pixels": pixels})
    answer = os.read(0, len(GO))
    if answer == FORGET:
        raise _ForgottenError
    if answer != GO:
        raise _ParentGoneError


def _answer(picture: Picture, wants_pixels: bool) -> None:
    height, width = picture.rgb.shape[:2]
    planes = [plane for plane in (picture.rgb, picture.alpha) if plane is not None] if wants_pixels else []
    payload = [np.ascontiguousarray(plane).data.cast("B") for plane in planes]
    answer = {"height": height, "width": width, "alpha": picture.alpha is not None, "warning": picture.warning}
    _send(answer, *payload)


def _limit_memory(amount: int) -> None:
    """Allow `amount` bytes in addition to what the process uses now."""
    with open("/proc/self/statm") as file:
        own = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (own + amount, own + amount))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time(seconds: int) -> None:
    """Allow `seconds` of processor time in addition to what the process has used; then a signal ends it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, resource.RLIM_INFINITY))


def _send(answer: dict[str, Any], *payload: memoryview) -> None:
    text = json.dumps(answer).encode()
    head = HEAD.pack(len(text), sum(len(each) for each in payload))
    for part in (memoryview(head + text), *payload):
        rest = part
        while rest:
            rest = rest[os.write(_OUT, rest) :]


def _receive() -> tuple[dict[str, Any], bytes]:
    text_size, data_size = HEAD.unpack(_read(HEAD.size))
    arguments: dict[str, Any] = json.loads(_read(text_size))
    return arguments, bytes(_read(data_size))


def _read(size: int) -> bytearray:
    buffer = bytearray(size)
    rest = memoryview(buffer)
    while rest:
        count = os.readv(0, [rest])
        if not count:
            raise _ParentGoneError
        rest = rest[count:]
    return buffer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
