"""The photos among the files and folders of a command, and the names under which they are uploaded."""

import os
import stat
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path, PurePosixPath

from nst_core.formats import HEAD_BYTES, IMAGE_SUFFIXES, suffix_of
from scheduler.cli.exits import UsageError
from scheduler.cli.transfer.names import fitted, readable, sound
from scheduler.cli.transfer.own_results import EARLIER_RESULT, OWN_RESULT, EarlierResults
from scheduler.cli.transfer.results import Naming
from scheduler.domain.naming import output_suffix

#: Device and inode, which identify a file or a folder whatever its name is.
Identity = tuple[int, int]
#: A longer suffix, or one with other characters, is part of a name such as `2026.05.01`.
_MOST_SUFFIX = 5
_RESULTS = {OWN_RESULT: "is a result of this command", EARLIER_RESULT: "looks like a result of an earlier command"}
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photo on this machine, and its name in the upload."""

    path: Path
    #: A relative path with slashes; results are in the same folders.
    name: str
    bytes: int
    identity: Identity


@dataclass(frozen=True, kw_only=True)
class Left:
    """A file that is left out, and why."""

    path: Path
    code: str
    message: str


@dataclass(kw_only=True)
class Found:
    """What was found in the arguments of a command."""

    photos: list[Photo] = field(default_factory=list)
    #: Files that are not photos.
    skipped: list[Left] = field(default_factory=list)
    #: Photos that cannot be sent.
    failed: list[Left] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A photo, and its path below the argument in which it was found."""

    path: Path
    place: PurePosixPath
    status: os.stat_result


def find_photos(
    paths: Sequence[Path], naming: Naming, *, most_bytes: float | None = None, earlier: EarlierResults | None = None
) -> Found:
    """Return the photos among files and folders. Their names are chosen so that no two have the same result.

    Sub-folders are searched, hidden files are not. A folder is searched once, even if links lead to it. The folder of
    the results, and `earlier` results next to their photos (default: those of this command), are left out. A file that
    cannot be sent is among `failed`, with the reason. Raises UsageError if a path does not exist, or if there are no
    photos.
    """
    search = _Search(naming, most_bytes)
    for path in paths:
        search.take(path)
    found = search.found
    for each, name in search.named(earlier or EarlierResults(naming)):
        identity = (each.status.st_dev, each.status.st_ino)
        found.photos.append(Photo(path=each.path, name=name, bytes=each.status.st_size, identity=identity))
    if not found.photos:
        raise UsageError(_nothing(paths, [*found.failed, *found.skipped]))
    return found


class _Search:
    """Looks through files and folders."""

    def __init__(self, naming: Naming, most_bytes: float | None) -> None:
        self._naming = naming
        self._most_bytes = most_bytes
        self._visited: set[Identity] = set()
        self._entries: set[tuple[str, str]] = set()
        self._output = _identity(naming.target.folder)
        self.found = Found()
        self.candidates: list[_Candidate] = []

    def take(self, path: Path) -> None:
        """Look at one argument of the command."""
        try:
            is_folder = path.is_dir()
            if not is_folder and not path.is_symlink() and not path.exists():
                raise UsageError(f"There is no file or folder {readable(path)}.")
        except (ValueError, OSError) as error:
            raise UsageError(f"{readable(path)} cannot be read: {_reason(error)}.") from error
        if is_folder:
            self._walk(path)
        else:
            self._look(path, PurePosixPath(path.name), is_asked_for=True)

    def named(self, earlier: EarlierResults) -> list[tuple[_Candidate, str]]:
        """Return the candidates with their names, except results of earlier commands.

        Results are recognised by the names of their photos, which may change when a result is left out: so all get
        their names again, until nothing is left out.
        """
        while True:
            names = _Names(self._naming)
            named = [(each, names.free(each.place)) for each in self.candidates]
            files = [(each.path, {each.place, PurePosixPath(name)}) for each, name in named]
            results = earlier.among(files)
            if not results:
                return named
            for path, code in results.items():
                self._leave(self.found.skipped, path, code, _RESULTS[code])
            self.candidates = [each for each in self.candidates if each.path not in results]

    def _walk(self, top: Path) -> None:
        """Look at all files below a folder: real folders before links, so that no file is named by a link."""
        start = len(self.candidates)
        folders, links = deque([top]), deque[Path]()
        while folders or links:
            folder = folders.popleft() if folders else links.popleft()
            try:
                identity = _identity(folder)
                if identity is None or identity in self._visited:
                    continue
                self._visited.add(identity)
                if identity == self._output and folder != top:
                    self._leave(self.found.skipped, folder, "output_folder", "is where the results go")
                    continue
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                self._leave(self.found.failed, folder, "unreadable", f"cannot be read: {_reason(error)}")
                continue
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    (links if entry.is_symlink() else folders).append(folder / entry.name)
                else:
                    path = folder / entry.name
                    self._look(path, PurePosixPath(path.relative_to(top).as_posix()))
        self.candidates[start:] = sorted(self.candidates[start:], key=lambda each: each.place.parts)

    def _look(self, path: Path, place: PurePosixPath, *, is_asked_for: bool = False) -> None:
        """Decide whether a file is a photo. A file that was named on the command line fails; others are skipped."""
        if (entry := _entry_of(path)) in self._entries:
            return
        self._entries.add(entry)
        unfit = self.found.failed if is_asked_for else self.found.skipped
        is_named_photo = place.suffix.lower() in IMAGE_SUFFIXES
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a special file")
                self._leave(unfit, path, "not_a_file", f"is {kind}, not a file")
                return
            suffix = "" if is_named_photo else _told_by_content(path, place)
        except OSError as error:
            where = self.found.failed if is_named_photo or is_asked_for else self.found.skipped
            self._leave(where, path, "unreadable", f"cannot be read: {_reason(error)}")
            return
        if suffix is None:
            self._leave(unfit, path, "not_a_photo", "does not have the name of a photo")
        elif self._most_bytes is not None and status.st_size > self._most_bytes:
            message = f"has {status.st_size:,} bytes; the limit is {self._most_bytes:,.0f}"
            self._leave(self.found.failed, path, "too_large", message)
        else:
            self.candidates.append(_Candidate(path=path, place=place.with_name(place.name + suffix), status=status))

    def _leave(self, where: list[Left], path: Path, code: str, message: str) -> None:
        where.append(Left(path=path, code=code, message=message))


class _Names:
    """Chooses names that the storage accepts, and whose results differ even if upper and lower case are the same."""

    def __init__(self, naming: Naming) -> None:
        self._format = naming.format
        self._room = naming.most_stem_bytes
        self._results: set[str] = set()
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def free(self, place: PurePosixPath) -> str:
        """Return the name for a photo: its path, or a similar one if another photo has the same result."""
        folder = self._folder(list(map(sound, place.parts[:-1])))
        place = folder / sound(place.name)
        suffix = place.suffix.lower().removeprefix(".")
        for tail in chain(("", f"-{suffix}"), (f"-{suffix}-{number}" for number in count(2))):
            name = place.with_name(f"{fitted(place.stem, self._room - len(tail))}{tail}{place.suffix}")
            if self._is_free(name):
                return str(name)
        raise AssertionError

    def _is_free(self, name: PurePosixPath) -> bool:
        # Some file systems do not distinguish upper and lower case.
        result = str(name.with_suffix(f".{output_suffix(name.name, self._format)}")).casefold()
        own = str(name).casefold()
        if result in self._results or own in self._folders:
            return False
        self._results.add(result)
        self._files.add(own)
        self._folders |= {str(parent).casefold() for parent in name.parents}
        return True

    def _folder(self, parts: Sequence[str]) -> PurePosixPath:
        """Return a folder, with other names for parts that are also files: many storages cannot have both."""
        folder = PurePosixPath()
        for part in parts:
            names = (folder / (part if number == 1 else f"{part}-{number}") for number in count(1))
            folder = next(name for name in names if str(name).casefold() not in self._files)
        return folder


def _told_by_content(path: Path, place: PurePosixPath) -> str | None:
    """Return the suffix for a file without one, by its content; None if it is not a photo.

    A file with another suffix, such as .mov, is not opened.
    """
    suffix = place.suffix[1:]
    if suffix.isascii() and suffix.isalnum() and suffix[:1].isalpha() and len(suffix) <= _MOST_SUFFIX:
        return None
    with path.open("rb") as file:
        return suffix_of(file.read(HEAD_BYTES))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # the error is reported when the file is opened


def _identity(path: Path | None) -> Identity | None:
    """Return the identity of a file or folder, or None if it does not exist."""
    if path is None:
        return None
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _entry_of(path: Path) -> tuple[str, str]:
    """Return the real folder of a file, and its name there."""
    return os.path.realpath(path.parent), path.name


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _nothing(paths: Sequence[Path], left: Sequence[Left]) -> str:
    where = ", ".join(map(readable, paths))
    reasons = [f"{readable(each.path)} {each.message}" for each in left[:3]]
    if len(left) > len(reasons):
        reasons.append(f"and {len(left) - len(reasons):,} more")
    return f"There are no photos in {where}{': ' if reasons else ''}{'; '.join(reasons)}."


def summary(left: Sequence[Left], *, shown: int = 3) -> str:
    """Return files in a few words, earlier results in a line of their own: `2 skipped: IMG_1.CR2, clip.mov`."""
    results = [each for each in left if each.code in _RESULTS]
    others = [each for each in left if each.code not in _RESULTS]
    lines = [_line(others, "skipped", shown)] if others else []
    lines += [_line(results, "left out that look like earlier results", shown)] if results else []
    return "\n".join(lines)


def _line(left: Sequence[Left], what: str, shown: int) -> str:
    names = ", ".join(readable(each.path.name) for each in left[:shown])
    rest = f", … ({_suffixes(left)})" if len(left) > shown else ""
    return f"{len(left):,} {what}: {names}{rest}"


def _suffixes(left: Sequence[Left]) -> str:
    counts = Counter(readable(each.path.suffix.lower()) or "no suffix" for each in left)
    return ", ".join(f"{number:,} {suffix}" for suffix, number in counts.most_common(5))
