"""OpenVINO's runtime, without its converter and its telemetry."""

import sys
from functools import cache
from typing import Any

from nst_core.errors import ConfigError

#: The package's part that converts models of other programs. It reports each import to a server, and then a process in
#: a network without access to it waits for minutes at its end.
_CONVERTER = "openvino.tools.ovc"


@cache
def runtime() -> Any:
    """Return the package openvino; raise ConfigError if it is not installed."""
    before = sys.modules.get(_CONVERTER)
    # An entry None makes `import` fail; the package goes on without its converter.
    sys.modules[_CONVERTER] = None  # type: ignore[assignment]
    try:
        import openvino
        import openvino.opset15
    except ImportError as error:
        raise ConfigError(f"The engine openvino cannot be loaded ({error}): pip install openvino.") from error
    finally:
        del sys.modules[_CONVERTER]
        if before is not None:
            sys.modules[_CONVERTER] = before
    return openvino
