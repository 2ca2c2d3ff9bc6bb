"""The kernels in C of `nets/native`, which this machine's compiler builds. Nothing here loads torch."""

import os
import secrets
import shlex
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Lock, Thread

_SOURCES = Path(__file__).parents[1] / "nets" / "native"
_FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC", "-Wno-psabi")
_BUILDING = Lock()


def build_in_background(folder: Path) -> Thread:
    """Return a thread that does what `built` does. If it fails, it fails again where the kernels are needed."""

    def build() -> None:
        with suppress(OSError, subprocess.SubprocessError):
            built(folder)

    thread = Thread(target=build, name="kernels", daemon=True)
    thread.start()
    return thread


def built(folder: Path) -> Path:
    """Return the library in `folder`, which is built if it is not there; files are compiled side by side.

    Threads of a process wait for the one that builds it. Raises OSError or SubprocessError if there is no compiler or
    if it fails.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or ["gcc"]
    library = folder / f"nst-kernels-{_digest(compiler)}.so"
    with _BUILDING:
        if not library.exists():
            _build(library, compiler)
    return library


def _build(library: Path, compiler: list[str]) -> None:
    # Another process may build it too, in another container even under the same process id. Each file is whole when it
    # gets its name.
    part = library.with_name(f"{library.name}.{secrets.token_hex(8)}")
    try:
        with tempfile.TemporaryDirectory(prefix="nst-native-") as objects, ThreadPoolExecutor() as threads:

            def compiled(source: Path) -> str:
                made = os.path.join(objects, f"{source.stem}.o")
                _run([*compiler, *_FLAGS, "-c", "-o", made, str(source)])
                return made

            files = threads.map(compiled, _sources("*.c"))
            _run([*compiler, *_FLAGS, "-shared", "-o", str(part), *files, "-lm"])
        part.replace(library)
    finally:
        part.unlink(missing_ok=True)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def _digest(compiler: list[str]) -> str:
    """Return a name for what the compiler makes here: it depends on the sources and on the processor."""
    # What says the kind: the first two on x86, the others on ARM.
    names = ("model name", "flags", "CPU part", "Features")
    processor = {line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(names)}
    parts = [*compiler, *_FLAGS, *sorted(processor), *(file.read_text() for file in _sources("*.[ch]"))]
    return sha256("\0".join(parts).encode()).hexdigest()[:16]


def _sources(pattern: str) -> list[Path]:
    return sorted(_SOURCES.glob(pattern))
