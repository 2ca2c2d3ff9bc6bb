"""Reads manifests: JSON lines, a JSON array, CSV with a header, or one s3:// address per line.

The text may be UTF-8 or UTF-16, with or without a byte order mark, and may be compressed with gzip. Lines may end in
LF, CRLF or CR. Blank lines and lines that begin with # or // are skipped, but count in line numbers.

The cursor at the end of a page has the byte at which the next line begins. Another scheduler continues there with a
ranged request; only a compressed manifest is read from its beginning again.
"""

import codecs
import csv
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import Enum, auto
from functools import cached_property
from itertools import chain
from typing import Any

from nst_core.client.resources.jobs import MAX_REGIONS
from nst_core.clock import Clock
from nst_core.errors import BlobTooLargeError, ConfigError, NstError
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.domain import addresses, codes
from scheduler.domain.codes import Failure
from scheduler.jobs.inputs import MOST_S, Cursor, InputEntry, Page

#: The longest line, or element of an array, in characters.
MAX_LINE = 2**20
#: The most bytes of a compressed manifest before and after decompression.
MAX_UNZIPPED_BYTES = 2**28
#: The most members of a compressed manifest: one a line if lines were appended one by one, and 4,096 by bgzip.
MAX_MEMBERS = 100_000
#: Bytes that are read at once at least, and of compressed data at most.
_FILL_BYTES, _ZIPPED_BYTES = 2**16, 2**12
#: The most bytes that one page reads.
_MOST_BYTES = 2**24
_MAX_CUSTOM_ID = 255
_GZIP = b"\x1f\x8b"
#: Byte order marks: the first bytes of a text, its encoding, and the length of the mark.
_MARKS = (
    (b"\xef\xbb\xbf", "utf-8", 3),
    (b"\xff\xfe", "utf-16-le", 2),
    (b"\xfe\xff", "utf-16-be", 2),
)
#: With these error handlers, invalid bytes are the same again after decoding and encoding.
_ERRORS = {"utf-8": "surrogateescape", "utf-16-le": "surrogatepass", "utf-16-be": "surrogatepass"}
_LINE_END = re.compile(r"\r\n|\n|\r")
#: Blank lines are skipped together. One by one, a compressed megabyte of them would take minutes.
_BLANK_LINES = re.compile(r"[ \t\r\n\0]*[\r\n]")
#: What is between the elements of an array.
_BETWEEN = re.compile(r"[ \t\r\n,]*")
#: No field that is read is a number, and Python refuses integers of more than 4,300 digits.
_DECODER = json.JSONDecoder(parse_int=float)


class _Mark(Enum):
    #: A part of the text without a photo.
    NOTHING = auto()
    END = auto()


class Manifest:
    """A manifest that is being read; it stays open while one scheduler reads page after page."""

    def __init__(self, blobs: BlobStore, uri: BlobUri, cursor: Cursor) -> None:
        """Open a manifest at a cursor; raise a BlobError if it cannot be read, or was replaced since the last page."""
        #: The place where the next page begins.
        self.cursor = cursor
        self._text, self._at, self._ended = "", 0, False
        self._fault: NstError | None = None
        kind = dict(cursor.kind)
        start = 0 if "zip" in kind else cursor.offset
        kind["tag"], pieces = blobs.stream_from(uri, start=start, tag=kind.get("tag"))
        first = b""
        if not cursor.kind:
            first = _first_bytes(pieces)
            if first.startswith(_GZIP):
                kind["zip"] = "gzip"
        if "zip" in kind:
            pieces = _skipped(_unzipped(first, pieces), cursor.offset)
            first = b"" if cursor.kind else _first_bytes(pieces)
        if not cursor.kind:
            kind["encoding"], mark = _encoding(first)
            first = first[mark:]
            self.cursor = replace(cursor, offset=mark)
        self._first, self._pieces = first, pieces
        self._kind = kind
        self._encoding, self._errors = kind["encoding"], _ERRORS[kind["encoding"]]
        self._decoder = codecs.getincrementaldecoder(self._encoding)(self._errors)

    def page(self, limit: int, may_read: Callable[[BlobUri], bool], *, timer: Clock) -> Page:
        """Return up to `limit` photos; raise ConfigError or BlobTooLargeError if it is no manifest from here on."""
        entries: list[InputEntry] = []
        began, start = timer(), self.cursor.offset
        while len(entries) < limit and self.cursor.offset - start < _MOST_BYTES and timer() - began < MOST_S:
            try:
                found = self._next(may_read)
            except (ConfigError, BlobTooLargeError):
                if entries:
                    break  # what comes before the fault is planned first; the next page raises the error again
                raise
            if found is _Mark.END:
                return Page(entries=entries, cursor=self.cursor, is_last=True)
            if isinstance(found, InputEntry):
                entries.append(found)
        return Page(entries=entries, cursor=self.cursor, is_last=False)

    def _next(self, may_read: Callable[[BlobUri], bool]) -> InputEntry | _Mark:
        if self._kind.get("format") == "array":
            return self._next_element(may_read)
        if (blank := self._blank_lines()) > 0:
            self._advance(blank)
            return _Mark.NOTHING
        line = self._line()
        if line is None:
            return _Mark.END
        text = line.strip(" \t\r\n\0")
        number = self.cursor.line + 1
        if not text or text.startswith(("#", "//")):
            self._advance(len(line))
            return _Mark.NOTHING
        if "format" not in self._kind:
            self._kind["format"] = _format(text)
            if self._kind["format"] == "array":
                self._advance(line.index("[") + 1)
                return _Mark.NOTHING
            if self._kind["format"] == "csv":
                self._kind["header"] = text
                self._advance(len(line))
                return _Mark.NOTHING
        self._advance(len(line))
        return parse(lambda: self._values(text), number, may_read)

    def _blank_lines(self) -> int:
        """Return the length in characters of the blank lines that come next in the text that was read so far."""
        found = _BLANK_LINES.match(self._text, self._at)
        if found is None:
            return 0
        # A CR at the end of the data read so far may be half of a CRLF.
        is_open = found.end() == len(self._text) and found[0].endswith("\r") and not self._ended
        return len(found[0]) - is_open

    def _line(self) -> str | None:
        """Return the next line, including its end, without advancing; None at the end of the text."""
        while True:
            found = _LINE_END.search(self._text, self._at)
            if (found.start() if found else len(self._text)) - self._at > MAX_LINE:
                raise BlobTooLargeError(
                    f"Line {self.cursor.line + 1} of the manifest has more than {MAX_LINE:,} characters."
                )
            # A CR at the end of the data read so far may be half of a CRLF.
            if found and (found.end() < len(self._text) or found[0] != "\r" or self._ended):
                return self._text[self._at : found.end()]
            if self._ended:
                return self._text[self._at :] or None
            self._fill()

    def _next_element(self, may_read: Callable[[BlobUri], bool]) -> InputEntry | _Mark:
        gap = _BETWEEN.match(self._text, self._at)
        assert gap is not None  # it may be empty
        if gap.end() == len(self._text):
            if self._ended and "closed" not in self._kind:
                number = self.cursor.line + 1 + len(_LINE_END.findall(gap[0]))
                raise ConfigError(f"Line {number} of the manifest: its JSON array has no end.")
            if self._ended:
                return _Mark.END
            # Keep the last character, which may be half of a CRLF, and drop the rest: white space may go on forever.
            self._advance(max(0, gap.end() - self._at - 1))
            self._fill()
            return _Mark.NOTHING
        self._advance(gap.end() - self._at)
        number = self.cursor.line + 1
        if "closed" in self._kind:
            raise ConfigError(f"Line {number} of the manifest: something comes after the end of its JSON array.")
        if self._text[self._at] == "]":
            self._kind["closed"] = "yes"
            self._advance(1)
            return _Mark.NOTHING
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
                break
            except (json.JSONDecodeError, RecursionError) as error:
                is_long = len(self._text) - self._at > MAX_LINE
                if (self._ended and not is_long) or isinstance(error, RecursionError):
                    reason = "its JSON array cannot be read from there on."
                    raise ConfigError(f"Line {number} of the manifest: {reason}") from error
                if is_long:
                    raise BlobTooLargeError(
                        f"Line {number} of the manifest: an element of its JSON array has more than {MAX_LINE:,} "
                        "characters, or is no JSON."
                    ) from error
                self._fill()
        self._advance(end - self._at)
        return parse(lambda: {"input": value} if isinstance(value, str) else value, number, may_read)

    def _values(self, text: str) -> Any:
        """Return the values of a line by the names of their fields."""
        if self._kind["format"] == "csv":
            names, delimiter = self._columns
            row = _fields(text, delimiter)
            if len(row) > len(names):
                raise ConfigError("it has more fields than the header.")
            named = {name: value.strip() for name, value in zip(names, row, strict=False)}
            return {name: value for name, value in named.items() if value or name == "input"}
        if text.startswith("s3://"):
            return {"input": text}
        value = _DECODER.decode(text)
        return {"input": value} if isinstance(value, str) else value

    @cached_property
    def _columns(self) -> tuple[Sequence[str], str]:
        """What `_columns` returns; every line asks for it, and a header may be long."""
        return _columns(self._kind["header"])

    def _advance(self, count: int) -> None:
        """Advance by some characters."""
        passed = self._text[self._at : self._at + count]
        self._at += count
        ends = len(_LINE_END.findall(passed))
        if passed.endswith("\r") and self._text.startswith("\n", self._at):
            ends -= 1  # the other half of this CRLF comes next
        self.cursor = replace(
            self.cursor,
            offset=self.cursor.offset + len(passed.encode(self._encoding, self._errors)),
            line=self.cursor.line + ends,
            kind=dict(self._kind),
        )

    def _fill(self) -> None:
        """Read more of the text: at least as much again as there is.

        So what looks at a long line from its beginning after each call takes a time that is linear in the line.
        """
        if self._fault is not None:
            raise self._fault
        wanted, read = max(_FILL_BYTES, len(self._text) - self._at), [self._first]
        nbytes, self._first = len(self._first), b""
        while nbytes < wanted and not self._ended and self._fault is None:
            try:
                piece = next(self._pieces, None)
            except NstError as error:
                # Kept, because after an error an iterator looks as if it were at its end.
                self._fault = error
            else:
                self._ended = piece is None
                read.append(piece or b"")
                nbytes += len(read[-1])
        if self._fault is not None and not nbytes:
            raise self._fault
        # Half a character at the end of UTF-16 is none.
        final = self._ended and self._encoding == "utf-8"
        self._text, self._at = self._text[self._at :] + self._decoder.decode(b"".join(read), final=final), 0


def parse(values_of: Callable[[], Any], number: int, may_read: Callable[[BlobUri], bool]) -> InputEntry:
    """Return the entry of a line with `input`, and perhaps an id and masks; of others, one with an error."""
    try:
        values = values_of()
        custom_id, mask = values.get("custom_id"), values.get("mask")
        address = _readable(values["input"], "input", may_read)
        if custom_id is not None and not (
            isinstance(custom_id, str) and len(custom_id) <= _MAX_CUSTOM_ID and addresses.storable(custom_id)
        ):
            raise ConfigError(f"custom_id is not a plain text of at most {_MAX_CUSTOM_ID} characters.")
        own_mask = None if mask is None else str(_readable(mask, "mask", may_read))
        regions = _regions(values.get("regions"), may_read)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as error:
        reason = error.message if isinstance(error, ConfigError) else 'it is not a JSON object with a text "input".'
        message = f"Line {number} of the manifest: {reason}"
        return InputEntry(uri=f"line:{number}", line=number, error=Failure(codes.INPUT_INVALID, message))
    return InputEntry(uri=str(address), custom_id=custom_id, mask=own_mask, regions=regions, line=number)


def _regions(value: Any, may_read: Callable[[BlobUri], bool]) -> tuple[str | None, ...]:
    """Return the masks of regions that a line names: a list of addresses and nulls, in CSV as JSON."""
    if value is None:
        return ()
    try:
        masks = _DECODER.decode(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        masks = None
    if not isinstance(masks, list) or len(masks) > MAX_REGIONS:
        raise ConfigError(f"regions is not a list of at most {MAX_REGIONS} addresses of masks, or nulls.")
    return tuple(None if mask is None else str(_readable(mask, "regions", may_read)) for mask in masks)


def _readable(text: Any, field: str, may_read: Callable[[BlobUri], bool]) -> BlobUri:
    """Return the address in a field of a line; raise ConfigError unless the job may read such an object."""
    if not (isinstance(text, str) and addresses.storable(text)):
        raise ConfigError(f"{field} has characters that no address has.")
    address = BlobUri.parse(text)
    if not address.key or not may_read(address):
        raise ConfigError(f"{text} is not an object that the job may read.")
    return address


def _format(text: str) -> str:
    """Return the format of a manifest by its first line."""
    if text.startswith("["):
        return "array"
    if not text.startswith(("{", '"', "s3://")) or text.startswith('"input"'):
        try:
            names, _ = _columns(text)
        except ConfigError:
            return "lines"  # this one is an error of its own
        if "input" in names:
            return "csv"
    return "lines"


def _columns(header: str) -> tuple[Sequence[str], str]:
    """Return the names of the columns of CSV, and its delimiter; raise ConfigError as `_fields` does."""
    delimiter = max(",;\t", key=header.count)
    return tuple(name.strip().lower() for name in _fields(header, delimiter)), delimiter


def _fields(line: str, delimiter: str) -> list[str]:
    """Return the fields of a line of CSV; raise ConfigError if Python's limit for the length of a field is exceeded."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error as error:
        raise ConfigError(f"its CSV cannot be read: {error}.") from error


def _encoding(first: bytes) -> tuple[str, int]:
    """Return a text's encoding by its first bytes, and the length of its byte order mark."""
    for mark, encoding, count in _MARKS:
        if first.startswith(mark):
            return encoding, count
    # ASCII characters in UTF-16 have a zero byte each.
    if len(first) >= 2 and 0 in first[:2] and first[:2] != b"\0\0":
        return ("utf-16-le" if first[1] == 0 else "utf-16-be"), 0
    return "utf-8", 0


def _first_bytes(pieces: Iterator[bytes]) -> bytes:
    first = b""
    while len(first) < 4 and (piece := next(pieces, None)) is not None:
        first += piece
    return first


def _unzipped(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what is in a gzip file, which may have several members; raise ConfigError if it is damaged or too large."""
    unzip, total, members = zlib.decompressobj(wbits=31), 0, 1
    try:
        for data in _zipped(first, pieces):
            while data:
                if unzip.eof:
                    unzip, members = zlib.decompressobj(wbits=31), members + 1
                    if members > MAX_MEMBERS:
                        raise ConfigError(f"A compressed manifest may have {MAX_MEMBERS:,} gzip members.")
                piece = unzip.decompress(data, 2**20)
                total += len(piece)
                if total > MAX_UNZIPPED_BYTES:
                    raise BlobTooLargeError(f"A compressed manifest may have {MAX_UNZIPPED_BYTES:,} bytes of text.")
                if piece:
                    yield piece
                data = unzip.unused_data if unzip.eof else unzip.unconsumed_tail
    except zlib.error as error:
        raise ConfigError("The manifest is compressed with gzip, and its data are damaged.") from error
    if not unzip.eof:
        raise ConfigError("The manifest is compressed with gzip, and breaks off.")


def _zipped(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the bytes of a gzip file a few at a time: what follows a member is copied when the member ends."""
    total = 0
    for piece in chain([first], pieces):
        total += len(piece)
        if total > MAX_UNZIPPED_BYTES:
            # It may be long without any text, for example in the names of files.
            raise BlobTooLargeError(f"A compressed manifest may have {MAX_UNZIPPED_BYTES:,} bytes.")
        for start in range(0, len(piece), _ZIPPED_BYTES):
            yield piece[start : start + _ZIPPED_BYTES]


def _skipped(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Yield the pieces without their first `count` bytes."""
    for piece in pieces:
        if len(piece) > count:
            yield piece[count:]
        count = max(0, count - len(piece))
