"""Reads manifests: JSON lines, a JSON array, CSV with a header, or one s3:// address per line.

The text may be UTF-8 or UTF-16, with or without a byte order mark, and may be compressed with gzip. Lines may end in
LF, CRLF or CR. Blank lines and lines that begin with # or // are skipped, but count in line numbers.

The cursor at the end of a page has the byte at which the next line begins. Another scheduler continues there with a
ranged request; only a compressed manifest is read from its beginning again.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import Enum, auto
from functools import cached_property
from typing import Any

from nst_core.clock import Clock
from nst_core.errors import BlobTooLargeError, ConfigError, NstError
from nst_core.storage.blobs import BlobStore, BlobUri
from scheduler.jobs.gzip_pieces import is_gzip, skipped, unzipped
from scheduler.jobs.inputs import MOST_S, Cursor, InputEntry, Page
from scheduler.jobs.manifest_lines import DECODER, columns, fields, parse

#: The longest line, or element of an array, in characters.
MAX_LINE = 2**20
#: Bytes that are read at once at least.
_FILL_BYTES = 2**16
#: The most bytes that one page reads.
_MOST_BYTES = 2**24
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
            if is_gzip(first):
                kind["zip"] = "gzip"
        if "zip" in kind:
            pieces = skipped(unzipped(first, pieces), cursor.offset)
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
                value, end = DECODER.raw_decode(self._text, self._at)
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
            row = fields(text, delimiter)
            if len(row) > len(names):
                raise ConfigError("it has more fields than the header.")
            named = {name: value.strip() for name, value in zip(names, row, strict=False)}
            return {name: value for name, value in named.items() if value or name == "input"}
        if text.startswith("s3://"):
            return {"input": text}
        value = DECODER.decode(text)
        return {"input": value} if isinstance(value, str) else value

    @cached_property
    def _columns(self) -> tuple[Sequence[str], str]:
        """What `columns` returns; every line asks for it, and a header may be long."""
        return columns(self._kind["header"])

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


def _format(text: str) -> str:
    """Return the format of a manifest by its first line."""
    if text.startswith("["):
        return "array"
    if not text.startswith(("{", '"', "s3://")) or text.startswith('"input"'):
        try:
            names, _ = columns(text)
        except ConfigError:
            return "lines"  # this one is an error of its own
        if "input" in names:
            return "csv"
    return "lines"


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
