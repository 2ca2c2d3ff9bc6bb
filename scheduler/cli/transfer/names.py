"""Names of files: how people read them, and how the storage takes them."""

import unicodedata
from pathlib import PurePath

#: Characters that turn the direction of text: a name with them is read as another one.
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def readable(name: str | PurePath) -> str:
    r"""Return a name with everything that a terminal does not show as it is escaped: caf\xe9.jpg, line\nbreak.jpg."""
    return "".join(map(_shown, str(name)))


def sound(name: str) -> str:
    """Return a name that every storage takes: control characters, backslashes and undecodable bytes become _."""
    return "".join("_" if char == "\\" or unicodedata.category(char) in ("Cc", "Cs") else char for char in name)


def fitted(stem: str, room: int) -> str:
    """Return a stem of at most `room` bytes of UTF-8, cut behind a whole character."""
    return stem.encode()[: max(room, 1)].decode(errors="ignore") or "_"


def _shown(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as Python keeps it
        return f"\\x{code - 0xDC00:02x}"
    if char in _TURNS or unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp"):
        return char.encode("unicode_escape", "surrogatepass").decode()
    return char
