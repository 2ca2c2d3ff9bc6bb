"""The kernels in C of `nets/native`, which this machine's compiler builds. Nothing here loads torch."""

import os
import secrets
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Lock, Thread

_SOURCES = Path(__file__).parents[1] / "nets" / "native"
_FLAGS = ("-O3", "-march=native", "-fopenmp", "-fPIC", "-Wno-psabi")
#: At the end of a library.
_CHECKSUM_BYTES = sha256().digest_size
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
    """Return the library in `folder`, built if it is not there or damaged; files are compiled side by side.

    Threads of a process wait for the one that builds it. Raises OSError or SubprocessError if there is no compiler, if
    it fails, or if the folder cannot be made.
    """
    compiler = named_compiler("CC") or ["gcc"]
    library = folder / f"nst-kernels-{_digest(compiler)}.so"
    with _BUILDING:
        if not _is_whole(library):
            folder.mkdir(parents=True, exist_ok=True)  # first: files are compiled for nothing if it cannot be made
            _build(library, compiler)
    return library


def named_compiler(variable: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the compiler that a variable names, with its options; nothing if the variable is empty.

    Text with an open quote is taken for a program, which nobody finds.
    """
    text = environment.get(variable, "")
    try:
        return shlex.split(text)
    except ValueError:
        return [text]


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
            linked = os.path.join(objects, library.name)
            _run([*compiler, *_FLAGS, "-shared", "-o", linked, *files, "-lm"])
            code = Path(linked).read_bytes()
        with part.open("xb") as file:
            file.write(code + sha256(code).digest())  # what follows the code, the dynamic loader ignores
            file.flush()
            os.fsync(file.fileno())
        part.replace(library)
    finally:
        part.unlink(missing_ok=True)


def _is_whole(library: Path) -> bool:
    """Return whether a library is there and ends with the checksum of its code.

    A power cut or a bad disk may have left a part of it, and a process that loads such a file may die of a bus error.
    """
    try:
        data = library.read_bytes()
    except OSError:  # not there, or not to be read; it is replaced then
        return False
    return sha256(data[:-_CHECKSUM_BYTES]).digest() == data[-_CHECKSUM_BYTES:]


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def _digest(compiler: list[str]) -> str:
    """Return a name for what the compiler makes here: it depends on the sources, the processor and the compiler."""
    # What says the kind: the first two on x86, the others on ARM.
    names = ("model name", "flags", "CPU part", "Features")
    processor = {line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(names)}
    parts = [*compiler, *_FLAGS, _version(compiler), *sorted(processor)]
    parts += [file.read_text() for file in _sources("*.[ch]")]
    return sha256("\0".join(parts).encode()).hexdigest()[:16]


def _version(compiler: list[str]) -> str:
    """Return what tells one version of a compiler from another, whose code may round the last bits otherwise.

    It is what the compiler says of itself, so that equal compilers of two containers share what one of them has built.
    """
    done = subprocess.run([*compiler, "--version"], check=True, capture_output=True, timeout=120)
    return done.stdout.decode(errors="replace")


def _sources(pattern: str) -> list[Path]:
    return sorted(_SOURCES.glob(pattern))
