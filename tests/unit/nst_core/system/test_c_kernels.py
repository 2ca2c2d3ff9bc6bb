"""Tests of nst_core.system.c_kernels."""

import ctypes
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nst_core.system import c_kernels
from nst_core.system.c_kernels import build_in_background, built, named_compiler

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler")


@pytest.fixture(autouse=True)
def sources(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two small files instead of the kernels; one needs the other."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "one.c").write_text("int one(void) { return 1; }")
    (folder / "two.c").write_text("int one(void); int two(void) { return 2 * one(); }")
    monkeypatch.setattr(c_kernels, "_SOURCES", folder)
    return folder


@needs_compiler
def test_files_are_compiled_and_linked_unless_it_was_done_before(tmp_path: Path, sources: Path) -> None:
    library = built(tmp_path)
    assert [*tmp_path.iterdir()] == [library]
    assert ctypes.CDLL(str(library)).two() == 2
    first = library.stat().st_mtime_ns
    assert built(tmp_path).stat().st_mtime_ns == first
    (sources / "one.c").write_text("int one(void) { return 3; }")
    assert ctypes.CDLL(str(built(tmp_path))).two() == 6


@needs_compiler
@pytest.mark.parametrize("damage", ["empty", "zeros", "cut", "one bit", "made by an older version"])
def test_a_damaged_library_is_built_anew(tmp_path: Path, damage: str) -> None:
    """A power cut leaves such files; a process that loads one that is cut dies of SIGBUS."""
    library = built(tmp_path)
    whole = library.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    damaged = {
        "empty": b"",
        "zeros": bytes(len(whole)),
        "cut": whole[:4096],
        "one bit": bytes(flipped),
        "made by an older version": whole[:-32],
    }
    library.write_bytes(damaged[damage])
    assert built(tmp_path) == library
    assert library.read_bytes() == whole
    assert ctypes.CDLL(str(library)).two() == 2
    assert [*tmp_path.iterdir()] == [library]


@needs_compiler
def test_processes_with_the_same_id_can_build_at_the_same_time(tmp_path: Path) -> None:
    # As those of two containers with one cache folder. Threads have the same id, too.
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(c_kernels._build, [tmp_path / "kernels.so"] * 2, [["gcc"]] * 2))
    assert ctypes.CDLL(str(tmp_path / "kernels.so")).two() == 2
    assert [path.name for path in tmp_path.iterdir()] == ["kernels.so"]


@needs_compiler
def test_threads_of_a_process_build_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    run = c_kernels._run

    def noted(command: list[str]) -> None:
        commands.append(command)
        run(command)

    monkeypatch.setattr(c_kernels, "_run", noted)
    thread = build_in_background(tmp_path)
    assert built(tmp_path).exists()
    thread.join()
    assert len(commands) == 3


@needs_compiler
def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    library = built(tmp_path / "cache" / "kernels")
    assert [*(tmp_path / "cache" / "kernels").iterdir()] == [library]


def test_nothing_is_compiled_for_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(c_kernels, "_version", lambda compiler: "1")
    monkeypatch.setattr(c_kernels, "_run", commands.append)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        built(tmp_path / "file" / "kernels")
    assert commands == []


@needs_compiler
def test_another_version_of_the_compiler_builds_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code may round the last bits in another way, and other workers of its version have only its own."""
    compiler = tmp_path / "cc"
    for version in ("one", "two"):
        compiler.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo {version} || exec gcc "$@"\n')
        compiler.chmod(0o755)
        monkeypatch.setenv("CC", str(compiler))
        assert ctypes.CDLL(str(built(tmp_path / "kernels"))).two() == 2
    assert len([*(tmp_path / "kernels").iterdir()]) == 2


@pytest.mark.parametrize("compiler", ["no-compiler", "false", "gcc 'open", 'gcc "-O1'])
def test_a_compiler_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiler: str) -> None:
    monkeypatch.setenv("CC", compiler)
    build_in_background(tmp_path).join()
    with pytest.raises((OSError, subprocess.SubprocessError)):
        built(tmp_path)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("text", "words"), [("", []), ("gcc -O2", ["gcc", "-O2"]), ("'my gcc' -g", ["my gcc", "-g"]), ("gcc '", ["gcc '"])]
)
def test_the_compiler_that_a_variable_names(text: str, words: list[str]) -> None:
    assert named_compiler("CC", {"CC": text}) == words
    assert named_compiler("CXX", {"CC": text}) == []


def test_torch_is_not_loaded() -> None:
    script = "import sys, nst_core.system.c_kernels; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
