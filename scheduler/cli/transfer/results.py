"""Where the results of a job go, and which names they get there."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from nst_core.formats import IMAGE_SUFFIXES, JPEG_SUFFIXES
from scheduler.cli.exits import PlaceError, UsageError
from scheduler.cli.transfer.names import readable
from scheduler.domain.jobs import DEFAULT_NAME, output_key, output_suffix
from scheduler.resources import Job

S3 = "s3://"
#: Formats of results by the suffix of the file that they are written to.
FORMATS = {**dict.fromkeys(sorted(JPEG_SUFFIXES), "jpeg"), ".png": "png", ".webp": "webp"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """Where results go, as -o says it: one of the three."""

    #: As it was given.
    text: str
    #: A file for the one result.
    file: Path | None = None
    folder: Path | None = None
    #: An s3:// prefix.
    prefix: str | None = None

    def path_of(self, name: PurePosixPath) -> Path | None:
        """Return the file of this machine for a result of that name, or None if it stays in the storage."""
        return self.file if self.folder is None else self.folder / name


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How results are named, and where they go."""

    format: str = "keep"
    template: str = DEFAULT_NAME
    #: As results have them in their names.
    styles: tuple[str, ...] = ()
    target: Target = field(default_factory=lambda: Target(text=""))

    @property
    def tells_styles(self) -> bool:
        """Whether a result can be told from a photo by its name."""
        return "{style}" in self.template

    @property
    def most_stem_bytes(self) -> int:
        """How long the stem of a photo's name may be, so that no result's name has more than 255 bytes."""
        empty = [output_key(self.template, input_key="", index=0, style=style, suffix="webp") for style in self.styles]
        # The photo's own name has to fit as well; its suffix has 6 bytes at most.
        return 255 - max([6, *(len(name.encode()) for name in empty)])

    def results_of(self, name: str, index: int) -> Iterator[Path]:
        """Yield the files of this machine that a photo's results would be written to."""
        suffix = output_suffix(name, self.format)
        for style in self.styles:
            result = output_key(self.template, input_key=name, index=index, style=style, suffix=suffix)
            path = self.target.path_of(PurePosixPath(name).parent / result)
            if path is not None:
                yield path


def parse_target(text: str, inputs: Sequence[str], *, images: int = 1) -> Target:
    """Return where -o puts results; raise UsageError if it can't be used. `images` is how many there are of a photo.

    A name with the suffix of an image is a file, which takes one image; everything else is a folder.
    """
    if text.startswith(S3):
        return Target(text=text, prefix=text)
    if not text or "\0" in text:
        raise UsageError("-o needs the name of a folder, or an s3:// prefix.")
    path = Path(text)
    is_file = path.suffix.lower() in IMAGE_SUFFIXES and not text.endswith(os.sep) and not path.is_dir()
    if not is_file:
        return Target(text=text, folder=path)
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{readable(path)} cannot be written; results can be .jpg, .png or .webp.")
    if images != 1 or len(inputs) != 1 or not is_one_photo(inputs[0]):
        raise UsageError(f"{readable(path)} is one file: give one photo and one style, or a folder for the results.")
    return Target(text=text, file=path)


def target_of(job: Job, text: str) -> Target:
    """Return where -o puts the results of a job that there is already; raise UsageError if it can't be used."""
    if text.startswith(S3):
        raise UsageError("-o takes a folder here; the job's own results are in the storage already.")
    return parse_target(text, ["s3://bucket/photo.jpg"], images=max(1, job.counts.total))


def is_one_photo(text: str) -> bool:
    """Return whether an argument names a single photo, as far as can be told by its name."""
    if text.startswith(S3):
        return PurePosixPath(text).suffix.lower() in IMAGE_SUFFIXES and not text.endswith("/")
    path = Path(text)
    return path.is_file() or (path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir())


def format_of(target: Target, chosen: str) -> str:
    """Return the format of the results: that of the one file, or the chosen one; raise UsageError if they differ."""
    if target.file is None:
        return chosen
    named = FORMATS[target.file.suffix.lower()]
    if chosen not in ("keep", named):
        raise UsageError(f"--format {chosen} does not fit the file {readable(target.file)}.")
    return named


def check_writable(target: Target) -> None:
    """Raise PlaceError or OSError unless results can be written there; nothing is left behind."""
    place = target.folder if target.folder is not None else target.file
    if place is None:
        return
    if target.folder is not None and place.exists() and not place.is_dir():
        raise PlaceError(f"{readable(place)} is a file; -o takes a folder here.")
    folder = place if target.folder is not None else place.parent
    while not folder.exists():
        if folder.is_symlink():
            raise PlaceError(f"{readable(folder)} is a link to nowhere; -o needs a folder.")
        folder = folder.parent
    if not folder.is_dir():
        raise PlaceError(f"{readable(folder)} is a file; there can be no folder below it.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename = str(folder)  # not the name of the temporary file
        raise
