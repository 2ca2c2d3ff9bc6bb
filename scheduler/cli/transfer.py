"""Photos from this machine into the storage, and results from the storage onto this machine."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TypeVar

from nst_core.errors import ProtocolError
from nst_core.protocol import ItemStatus
from scheduler.cli.exits import UsageError
from scheduler.client import Client
from scheduler.domain import IMAGE_SUFFIXES, output_suffix
from scheduler.resources import Item, Job, Upload

_THREADS = 8
_In = TypeVar("_In")
_Out = TypeVar("_Out")


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo of this machine and its name in the upload."""

    path: Path
    #: Relative, with slashes; the folders come back in the names of the results.
    name: str


def find_photos(paths: Sequence[Path], *, format: str) -> list[Photo]:
    """Return the photos among files and folders, each with a name that gives a result of its own.

    Folders are searched to the bottom, without hidden files. Raises UsageError where a path is no photo, or where
    there is none at all.
    """
    found: list[tuple[Path, PurePosixPath]] = []
    for path in paths:
        if path.is_dir():
            found += [(file, PurePosixPath(file.relative_to(path).as_posix())) for file in _walk(path)]
        elif not path.exists():
            raise UsageError(f"There is no file or folder {path}.")
        elif path.suffix.lower() not in IMAGE_SUFFIXES:
            raise UsageError(f"{path} is no image by its suffix; known are {', '.join(sorted(IMAGE_SUFFIXES))}.")
        else:
            found.append((path, PurePosixPath(path.name)))
    if not found:
        raise UsageError(f"There are no photos in {', '.join(map(str, paths))}.")
    taken: set[str] = set()
    return [Photo(path=path, name=_free_name(name, format, taken)) for path, name in found]


def _walk(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _walk(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            yield path


def _free_name(name: PurePosixPath, format: str, taken: set[str]) -> str:
    """Return `name`, or one like it where another photo's result would have the same name."""
    suffix = name.suffix.lower().removeprefix(".")
    stems = [name.stem, f"{name.stem}-{suffix}"]
    number = 0
    while True:
        stem = stems[number] if number < len(stems) else f"{name.stem}-{suffix}-{number}"
        candidate = name.with_name(f"{stem}{name.suffix}")
        # Folders of some systems do not tell A from a.
        result = str(candidate.with_suffix(f".{output_suffix(candidate.name, format)}")).casefold()
        if result not in taken:
            taken.add(result)
            return str(candidate)
        number += 1


def upload_photos(client: Client, photos: Sequence[Photo], *, on_done: Callable[[], None]) -> Upload:
    """Store photos in a new upload; `on_done` is called after each."""
    upload, _ = upload_files(client, photos, on_done=on_done)
    return upload


def upload_files(
    client: Client, photos: Sequence[Photo], *, on_done: Callable[[], None]
) -> tuple[Upload, dict[Path, str]]:
    """Store photos in a new upload; return it, and their s3:// addresses by path. `on_done` is called after each."""
    upload = client.create_upload()

    def put(photo: Photo) -> tuple[Path, str]:
        return photo.path, client.upload(upload.id, photo.name, photo.path)

    addresses = {}
    for path, address in in_threads(put, photos):
        addresses[path] = address
        on_done()
    return upload, addresses


def download_results(
    client: Client, job: Job, folder: Path, *, on_done: Callable[[Path], None] = lambda path: None
) -> dict[int, Path]:
    """Write every result of a job into a folder and return the files by item id.

    The names are those in the storage below the job's output prefix. A file appears whole or not at all.
    """

    def fetch(item: Item) -> tuple[int, Path]:
        path = folder / local_name(job, item)
        write_whole(path, client.output(job.id, item.id))
        return item.id, path

    files: dict[int, Path] = {}
    for item_id, path in in_threads(fetch, client.items(job.id, status=ItemStatus.SUCCEEDED)):
        files[item_id] = path
        on_done(path)
    return files


def write_whole(path: Path, data: bytes) -> None:
    """Write a file, and the folders that it is in; it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def local_name(job: Job, item: Item) -> PurePosixPath:
    """Return the name of an item's result below the job's output; raise ProtocolError where it would lead outside."""
    name = (item.output or "").removeprefix(job.output.prefix or "")
    if "://" in name or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise ProtocolError(f"{item.output!r} is no name below {job.output.prefix!r}.")
    return PurePosixPath(name)


def in_threads(function: Callable[[_In], _Out], inputs: Iterable[_In]) -> Iterator[_Out]:
    """Yield the results as they come, with a bounded number of inputs in hand."""
    todo = iter(inputs)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="transfer") as pool:
        running: set[Future[_Out]] = {pool.submit(function, value) for value in islice(todo, 2 * _THREADS)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(function, value) for value in islice(todo, len(done))}
                for future in done:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()
