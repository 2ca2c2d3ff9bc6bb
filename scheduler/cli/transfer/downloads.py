"""Downloads of results; files that are already there are not fetched again."""

import errno
import hashlib
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath

from nst_core.client import ApiError, Client
from nst_core.client.resources.items import Item, ItemStatus
from nst_core.client.resources.jobs import Job
from nst_core.errors import NstError, ProtocolError
from scheduler.cli.transfer.files import in_threads, write_whole
from scheduler.cli.transfer.names import readable
from scheduler.cli.transfer.photos import Identity, Left
from scheduler.cli.transfer.results import FORMATS, Target
from scheduler.domain.codes import OUTPUT_IS_INPUT

#: Statuses of answers that concern one image and not the whole download.
_OF_ONE_IMAGE = frozenset({404, 409, 410, 422})
#: Errors that every further file would have as well.
_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE})
_TERMINAL = frozenset({ItemStatus.SUCCEEDED, ItemStatus.FAILED, ItemStatus.CANCELLED})
#: A look at a running job ends after this many images in a row that have not started.
_LOOK_AHEAD = 1000
_PAGE = 1000
_MAY_BE_PHOTO = "may be a photo of the job: give another folder, or --replace"


@dataclass(kw_only=True)
class Download:
    """Writes the results of a job to the place given with -o, each of them once.

    Not thread-safe.
    """

    client: Client
    job: Job
    target: Target
    #: Files that are never overwritten: the photos of the job.
    protected: Collection[Identity] = ()
    #: Whether a file with the name of one of the job's photos is kept. Commands that know the photos say `protected`.
    keeps_names: bool = False
    #: Called with the number of results that are written.
    on_done: Callable[[int], None] = lambda count: None
    #: Written files, and failures, by item id.
    files: dict[int, Path] = field(default_factory=dict)
    failed: dict[int, Left] = field(default_factory=dict)
    #: When it is set, no further results are fetched.
    stop: threading.Event = field(default_factory=threading.Event)
    #: All items up to this id have ended and were fetched.
    _through: int = -1
    #: Ends the pauses of the fetch that is at work.
    _halt: threading.Event = field(default_factory=threading.Event)
    #: The names of the job's photos that are known, in lower case, and whether these are all.
    _photos: frozenset[str] = frozenset()
    _knows_all: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)
    #: The item that the single file is for.
    _owner: dict[Path, int] = field(default_factory=dict)

    def halt(self) -> None:
        """Fetch no further results; the fetch that is at work in another thread ends with CancelledError."""
        self.stop.set()
        self._halt.set()

    def fetch_ended(self) -> None:
        """Fetch the images that were finished since the last call."""
        self._fetch(self._ended())

    def fetch_all(self) -> None:
        """Fetch all results; the ones that failed before are tried again."""
        self.failed.clear()
        self.stop.clear()
        self._fetch(self.client.items(self.job.id, status=ItemStatus.SUCCEEDED))

    def _ended(self) -> Iterator[Item]:
        unbroken, waiting = True, 0
        for item in self.client.items(self.job.id, after=None if self._through < 0 else self._through):
            unbroken = unbroken and item.status in _TERMINAL
            if unbroken:
                self._through = item.id
            waiting = waiting + 1 if item.status is ItemStatus.PENDING else 0
            if waiting > _LOOK_AHEAD:
                return
            if item.status is ItemStatus.SUCCEEDED:
                yield item

    def _fetch(self, items: Iterable[Item]) -> None:
        new = (item for item in items if item.id not in self.files and item.id not in self.failed)
        self._halt = halt = threading.Event()  # before the look at `stop`, so that `halt` cannot miss it
        wanted = takewhile(lambda _: not self.stop.is_set(), new)
        for item, result in in_threads(self._fetch_one, wanted, stop=halt):
            if isinstance(result, Left):
                self.failed[item.id] = result
            else:
                self.files[item.id] = result
                self.on_done(len(self.files))

    def _fetch_one(self, item: Item) -> tuple[Item, Path | Left]:
        """Return the file of an image, or why it could not be written; raise errors that every image would have."""
        path = Path(item.output or "")
        try:
            path = self._path_of(item)
            if not _is_there(path, item):
                if self._is_protected(path):
                    return item, Left(path=path, code=OUTPUT_IS_INPUT, message="would replace a photo of the job")
                if self.keeps_names and self._may_be_photo(path):
                    return item, Left(path=path, code=OUTPUT_IS_INPUT, message=_MAY_BE_PHOTO)
                data = self.client.output(self.job.id, item.id)
                if item.sha256 is not None and hashlib.sha256(data).hexdigest() != item.sha256:
                    raise ProtocolError("The image is not the one that the job made.")
                write_whole(path, data)
        except OSError as error:
            if error.errno in _OF_THE_DISK:
                raise
            return item, Left(path=path, code=_code(error), message=f"cannot be written: {error.strerror or error}")
        except ApiError as error:
            if error.status not in _OF_ONE_IMAGE:
                raise
            return item, Left(path=path, code=error.code, message=f"cannot be fetched: {error.message}")
        except ProtocolError as error:
            return item, Left(path=path, code=error.code, message=f"cannot be written: {error.message}")
        return item, path

    def _path_of(self, item: Item) -> Path:
        name = local_name(self.job, item)
        path = self.target.path_of(name)
        assert path is not None
        # A job may get more images than were known when the place was chosen.
        if self.target.file is not None and self._owner.setdefault(path, item.id) != item.id:
            raise ProtocolError(f"{readable(path)} has another image of the job: give a folder.")
        if self.target.file is not None and FORMATS.get(name.suffix.lower()) != FORMATS[path.suffix.lower()]:
            raise ProtocolError(f"The image is a {name.suffix} file.")
        return path

    def _is_protected(self, path: Path) -> bool:
        try:
            status = path.stat()
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) in self.protected

    def _may_be_photo(self, path: Path) -> bool:
        """Return whether a file that is there has the name of one of the job's photos."""
        if not path.is_file():
            return False
        name = path.name if self.target.folder is None else path.relative_to(self.target.folder).as_posix()
        with self._lock:
            if name.casefold() not in self._photos and not self._knows_all:
                # While the job runs, photos may be added to it.
                self._knows_all = self.client.job(self.job.id).finished_at is not None
                items = self.client.items(self.job.id, page=_PAGE)
                self._photos = frozenset(self._name_of_photo(item).casefold() for item in items)
            return name.casefold() in self._photos

    def _name_of_photo(self, item: Item) -> str:
        prefix = self.job.input.prefix
        if prefix is None or self.target.folder is None:
            return item.input.rpartition("/")[2]
        return item.input.removeprefix(prefix)


class Follower:
    """Fetches the results of a running job in a thread, when they are ready."""

    def __init__(self, download: Download, *, pause_s: float = 1.0) -> None:
        """Look for results every `pause_s` seconds, or less often if a look takes long."""
        self._download = download
        self._pause_s = pause_s
        self._thread = threading.Thread(target=self._run, name="results", daemon=True)
        #: Why no further results can be written.
        self.error: OSError | None = None

    def __enter__(self) -> "Follower":
        self._thread.start()
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._download.halt()
        # After Ctrl-C nobody waits for an image that is on its way; otherwise, it need not be fetched again.
        self._thread.join(None if error is None else 1.0)

    def _run(self) -> None:
        pause_s = self._pause_s
        while not self._download.stop.wait(pause_s):
            began = time.monotonic()
            try:
                self._download.fetch_ended()
            except CancelledError:
                return
            except NstError:
                pass  # the thread that waits for the job has the same error and reports it
            except OSError as error:
                self.error = error
                return
            pause_s = max(self._pause_s, 3 * (time.monotonic() - began))


def local_name(job: Job, item: Item) -> PurePosixPath:
    """Return the name of an item's result below the job's output; raise ProtocolError if it would lead outside."""
    name = (item.output or "").removeprefix(job.output.prefix or "")
    if "://" in name or "\\" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise ProtocolError(f"{item.output!r} is not below {job.output.prefix!r}.")
    return PurePosixPath(name)


def _is_there(path: Path, item: Item) -> bool:
    """Return whether a file has exactly the bytes of an item's image."""
    if item.sha256 is None or item.bytes is None:
        return False
    try:
        if path.stat().st_size != item.bytes or not path.is_file():
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == item.sha256
    except OSError:
        return False


def _code(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "os_error")
