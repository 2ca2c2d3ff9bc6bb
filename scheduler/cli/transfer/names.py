"""Names of files: for people, and for the storage."""

import unicodedata
from pathlib import PurePath

from nst_core.errors import ConfigError
from scheduler.domain.addresses import check_key

#: Characters that change the direction of text, and so let one name look like another.
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def readable(name: str | PurePath) -> str:
    r"""Return a name in which everything that a terminal cannot show is escaped: caf\xe9.jpg, line\nbreak.jpg."""
    return "".join(map(_shown, str(name)))


def sound(name: str) -> str:
    """Return a name that every storage accepts: control characters, backslashes and undecodable bytes become _.

    So do percent signs, if what they stand for is no name: of a slash, as in `photos%2Fcat.jpg`, for example.
    """
    name = "".join("_" if char == "\\" or unicodedata.category(char) in ("Cc", "Cs") else char for char in name)
    try:
        check_key(name)
    except ConfigError:
        return name.replace("%", "_")
    return name


def fitted(stem: str, room: int) -> str:
    """Return a stem of at most `room` bytes of UTF-8; no character is cut in the middle."""
    return stem.encode()[: max(room, 1)].decode(errors="ignore") or "_"


def _shown(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # how Python represents a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if char in _TURNS or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp"):
        return char.encode("unicode_escape", "surrogatepass").decode()
    return char
