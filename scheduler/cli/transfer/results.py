"""Where the results of a job go, and their names there."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from nst_core.client.resources.jobs import DEFAULT_NAME, Job, JobStatus
from nst_core.formats import IMAGE_SUFFIXES, JPEG_SUFFIXES
from nst_core.system.special_files import is_special
from scheduler.cli.exits import PlaceError, UsageError
from scheduler.cli.transfer.names import readable
from scheduler.domain.naming import output_key, output_suffix

S3 = "s3://"
#: Formats of results by the suffix of the file.
FORMATS = {**dict.fromkeys(sorted(JPEG_SUFFIXES), "jpeg"), ".png": "png", ".webp": "webp"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """The place given with -o: a file, a folder or an s3:// prefix."""

    #: The value of -o.
    text: str
    #: A file for a single result.
    file: Path | None = None
    folder: Path | None = None
    #: An s3:// prefix.
    prefix: str | None = None

    def path_of(self, name: PurePosixPath) -> Path | None:
        """Return the file for a result with this name, or None if it stays in the storage."""
        return self.file if self.folder is None else self.folder / name


@dataclass(frozen=True, kw_only=True)
class Naming:
    """The names of results, their format and their place."""

    format: str = "keep"
    template: str = DEFAULT_NAME
    #: Names of the styles, which may be parts of the results' names.
    styles: tuple[str, ...] = ()
    target: Target = field(default_factory=lambda: Target(text=""))
    #: The longest side of results, in pixels; None means that of the photo.
    max_px: int | None = None

    @property
    def most_stem_bytes(self) -> int:
        """The maximum bytes of the stem of a photo's name, so that no result's name has more than 255 bytes."""
        empty = [output_key(self.template, input_key="", index=0, style=style, suffix="webp") for style in self.styles]
        # The photo's own name must fit as well; its suffix has at most 6 bytes.
        return 255 - max([6, *(len(name.encode()) for name in empty)])

    def results_of(self, name: str, index: int) -> Iterator[Path]:
        """Yield the files that a photo's results would be written to."""
        suffix = output_suffix(name, self.format)
        for style in self.styles:
            result = output_key(self.template, input_key=name, index=index, style=style, suffix=suffix)
            path = self.target.path_of(PurePosixPath(name).parent / result)
            if path is not None:
                yield path


def parse_target(text: str, inputs: Sequence[str], *, images: int = 1) -> Target:
    """Return the place that -o names; raise UsageError if it cannot be used. `images` is the number per photo.

    A name with the suffix of an image is a file, which takes one image; every other name is a folder.
    """
    if text.startswith(S3):
        return Target(text=text, prefix=text)
    if not text or "\0" in text:
        raise UsageError("-o takes a folder or an s3:// prefix.")
    path = Path(text)
    is_file = path.suffix.lower() in IMAGE_SUFFIXES and not text.endswith(os.sep) and not path.is_dir()
    if not is_file:
        return Target(text=text, folder=path)
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{readable(path)} cannot be written: results can be .jpg, .png or .webp files.")
    if images != 1 or len(inputs) != 1 or not is_one_photo(inputs[0]):
        raise UsageError(f"{readable(path)} is one file: give one photo and one style, or a folder for the results.")
    return Target(text=text, file=path)


def target_of(job: Job, text: str) -> Target:
    """Return the place that -o names for the results of an existing job; raise UsageError if it cannot be used."""
    if text.startswith(S3):
        raise UsageError("-o takes a folder here; the results of the job are already in the storage.")
    named = (job.input.count or 0) * len(job.styles)
    target = parse_target(text, ["s3://bucket/photo.jpg"], images=max(1, named, job.counts.total))
    if target.file is not None and not named and job.status in (JobStatus.QUEUED, JobStatus.PLANNING):
        place = f"{readable(target.file)} is one file"
        raise UsageError(f"{place}, and it is not known yet how many images {job.id} has: give a folder, or wait.")
    return target


def is_one_photo(text: str) -> bool:
    """Return whether an argument seems to name a single photo."""
    if text.startswith(S3):
        return PurePosixPath(text).suffix.lower() in IMAGE_SUFFIXES and not text.endswith("/")
    path = Path(text)
    return path.is_file() or (path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir())


def format_of(target: Target, chosen: str) -> str:
    """Return the format of the results: that of the single file, or the chosen one; raise UsageError if they differ."""
    if target.file is None:
        return chosen
    named = FORMATS[target.file.suffix.lower()]
    if chosen not in ("keep", named):
        raise UsageError(f"--format {chosen} does not match the file {readable(target.file)}.")
    return named


def check_writable(target: Target) -> None:
    """Raise PlaceError or OSError if results cannot be written there; no file is left behind."""
    place = target.folder if target.folder is not None else target.file
    if place is None:
        return
    if target.folder is not None and place.exists() and not place.is_dir():
        raise PlaceError(f"{readable(place)} is a file; -o takes a folder here.")
    if target.file is not None and is_special(target.file):
        return  # a pipe, for example, which is written to in its place
    folder = place if target.folder is not None else place.parent
    while not folder.exists():
        if folder.is_symlink():
            raise PlaceError(f"{readable(folder)} is a broken link; -o takes a folder.")
        folder = folder.parent
    if not folder.is_dir():
        raise PlaceError(f"{readable(folder)} is a file; a folder cannot be made in it.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename = str(folder)  # not the name of the temporary file
        raise
