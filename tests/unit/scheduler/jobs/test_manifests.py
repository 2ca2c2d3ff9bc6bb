"""Tests of scheduler.jobs.manifests, on a server in this process."""

import gzip
import json
import time
from collections.abc import Callable, Iterator

import pytest

from nst_core.errors import BlobReplacedError, BlobTooLargeError, ConfigError
from nst_core.storage.blobs import BlobUri
from scheduler.jobs.inputs import Cursor, InputEntry
from scheduler.jobs.manifests import MAX_LINE, Manifest
from tests.playing_s3 import PlayingServer, playing

URI = BlobUri("nst", "m.jsonl")
NAMES = ("a", "b", "c")
LINES = [json.dumps({"input": f"s3://nst/{name}.jpg", "custom_id": name}) for name in NAMES]
EXPECTED = [(f"s3://nst/{name}.jpg", name) for name in NAMES]
PRETTY = json.dumps([json.loads(line) for line in LINES], indent=2)
CSV = "input,custom_id\r\n" + "".join(f"s3://nst/{name}.jpg,{name}\r\n" for name in NAMES)


@pytest.fixture(scope="module")
def played() -> Iterator[PlayingServer]:
    with playing() as played:
        yield played


@pytest.fixture
def server(played: PlayingServer) -> PlayingServer:
    played.reset()
    return played


def put(server: PlayingServer, data: bytes | str) -> None:
    server.put(URI.key, data=data.encode() if isinstance(data, str) else data)


def read(server: PlayingServer, *, limit: int = 100, reopen: bool = False) -> list[InputEntry]:
    """Return all photos of the manifest, page by page; with `reopen`, each page as another scheduler reads it."""
    manifest, found = Manifest(server.store(), URI, Cursor()), list[InputEntry]()
    while True:
        page = manifest.page(limit, lambda uri: True, timer=lambda: 0.0)
        found += page.entries
        if page.is_last:
            return found
        assert Cursor.load(page.cursor.dump()) == page.cursor
        if reopen:
            manifest = Manifest(server.store(), URI, Cursor.load(page.cursor.dump()))


FORMS: dict[str, bytes | str] = {
    "lines": "\n".join(LINES),
    "end of the last line": "\n".join(LINES) + "\n",
    "CRLF": "\r\n".join(LINES) + "\r\n",
    "CR": "\r".join(LINES),
    "blank lines": "\n\n" + "\n \t\n".join(LINES) + "\n\n",
    "comments": "# photos\n// of mine\n" + "\n".join(LINES),
    "byte order mark": b"\xef\xbb\xbf" + "\n".join(LINES).encode(),
    "UTF-16 with a mark": "\r\n".join(LINES).encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + "\n".join(LINES).encode("utf-16-be"),
    "UTF-16 without a mark": "\n".join(LINES).encode("utf-16-le"),
    "zeroes at the end": "\n".join(LINES) + "\n\0\0\0",
    "array": json.dumps([json.loads(line) for line in LINES]),
    "array in lines": PRETTY,
    "array with CRLF and a mark": b"\xef\xbb\xbf" + PRETTY.replace("\n", "\r\n").encode(),
    "array after blank lines": "\n\n" + PRETTY + "\n\n",
    "CSV": CSV,
    "CSV with quotes": 'Input;custom_id\n"s3://nst/a.jpg";a\n"s3://nst/b.jpg";"b"\ns3://nst/c.jpg;c\n',
    "CSV with other columns": "id\tinput\tCustom_ID\n" + "".join(f"7\ts3://nst/{n}.jpg\t{n}\n" for n in NAMES),
    "gzip": gzip.compress("\n".join(LINES).encode()),
    "gzip of a file a line": b"".join(gzip.compress(f"{line}\n".encode()) for line in LINES),
    "gzip of two files": gzip.compress((LINES[0] + "\n").encode()) + gzip.compress("\n".join(LINES[1:]).encode()),
    "gzip of an array in UTF-16": gzip.compress(PRETTY.encode("utf-16")),
}


@pytest.mark.parametrize("form", FORMS)
def test_form_is_read_as_its_writer_meant_it(server: PlayingServer, form: str) -> None:
    put(server, FORMS[form])
    assert [(entry.uri, entry.custom_id) for entry in read(server)] == EXPECTED
    # One photo a page, each read by a scheduler that knows the cursor alone.
    again = read(server, limit=1, reopen=True)
    assert again == read(server)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("\n\n{broken\n\n" + LINES[0], {3: True, 5: False}),
        ("# note\r\n" + LINES[0] + "\r\n\r\n[1]\r\n", {2: False, 4: True}),
        ("input,custom_id\n\n1,2,3\ns3://nst/a.jpg,a\n", {3: True, 4: False}),
        ('[\n {"input": "s3://nst/a.jpg"},\n\n 5,\r\n {"no": 1}\n]', {2: False, 4: True, 5: True}),
    ],
)
def test_errors_name_the_line_as_an_editor_counts_it(server: PlayingServer, text: str, lines: dict[int, bool]) -> None:
    put(server, text)
    for reopen in (False, True):
        found = read(server, limit=1, reopen=reopen)
        assert {entry.line: entry.error is not None for entry in found} == lines
        for entry in found:
            assert entry.error is None or f"Line {entry.line} of the manifest" in entry.error[1]


@pytest.mark.parametrize(
    "text",
    [
        '{"input": "s3://nst/a.jpg", "mask": "s3://nst/m.png"}\n{"input": "s3://nst/b.jpg", "mask": null}',
        "input,mask\ns3://nst/a.jpg,s3://nst/m.png\ns3://nst/b.jpg,\n",
    ],
)
def test_a_line_may_name_a_mask(server: PlayingServer, text: str) -> None:
    put(server, text)
    assert [(entry.uri, entry.mask) for entry in read(server)] == [
        ("s3://nst/a.jpg", "s3://nst/m.png"),
        ("s3://nst/b.jpg", None),
    ]


@pytest.mark.parametrize(
    "text",
    [
        '{"input": "s3://nst/a.jpg", "regions": [null, "s3://nst/m.png"]}\n{"input": "s3://nst/b.jpg", "regions": []}',
        'input,regions\ns3://nst/a.jpg,"[null, ""s3://nst/m.png""]"\ns3://nst/b.jpg,\n',
    ],
)
def test_a_line_may_name_masks_of_regions(server: PlayingServer, text: str) -> None:
    put(server, text)
    assert [(entry.uri, entry.regions) for entry in read(server)] == [
        ("s3://nst/a.jpg", (None, "s3://nst/m.png")),
        ("s3://nst/b.jpg", ()),
    ]


@pytest.mark.parametrize(
    "value", ['"s3://nst/m.png"', "{}", "7", "[7]", '["m.png"]', json.dumps(["s3://nst/m.png"] * 9)]
)
def test_a_line_with_wrong_regions_fails_alone(server: PlayingServer, value: str) -> None:
    put(server, f'{{"input": "s3://nst/a.jpg", "regions": {value}}}\n' + LINES[0])
    wrong, right = read(server)
    assert (wrong.error and wrong.error.code, right.error) == ("input_invalid", None)


def test_plain_addresses_are_photos_with_any_characters_of_keys(server: PlayingServer) -> None:
    put(server, 's3://nst/a, b.jpg\n  s3://nst/ü\u2028#.jpg\n"s3://nst/c.jpg"\n')
    assert [entry.uri for entry in read(server)] == ["s3://nst/a, b.jpg", "s3://nst/ü\u2028#.jpg", "s3://nst/c.jpg"]


def test_long_line_is_read_and_one_without_an_end_is_refused_with_its_number(server: PlayingServer) -> None:
    put(server, LINES[0] + "\n" + json.dumps({"input": "s3://nst/b.jpg", "note": "x" * 500_000}) + "\n")
    assert [entry.uri for entry in read(server)] == ["s3://nst/a.jpg", "s3://nst/b.jpg"]
    put(server, LINES[0] + "\n" + "x" * 3_000_000)
    manifest = Manifest(server.store(), URI, Cursor())
    page = manifest.page(10, lambda uri: True, timer=lambda: 0.0)
    assert [entry.uri for entry in page.entries] == ["s3://nst/a.jpg"], "what comes before is not lost"
    for _ in range(2):
        with pytest.raises(BlobTooLargeError, match="Line 2 of the manifest"):
            manifest.page(10, lambda uri: True, timer=lambda: 0.0)


@pytest.mark.parametrize("count", [2**20 - 1, 2**20, 2**20 + 1, 2**21, 2**22])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n" + LINES[0]])
def test_the_longest_line_is_as_long_wherever_it_ends(server: PlayingServer, count: int, end: str) -> None:
    put(server, "x" * count + end)
    if count <= MAX_LINE:
        assert [entry.line for entry in read(server) if entry.error] == [1]
    else:
        with pytest.raises(BlobTooLargeError, match="Line 1 of the manifest"):
            read(server)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('[{"input": "s3://nst/a.jpg"},\n{"input": ', "Line 2 of the manifest: its JSON array cannot be read"),
        ('[{"input": "s3://nst/a.jpg"}\n', "Line 2 of the manifest: its JSON array has no end"),
        ('[{"input": "s3://nst/a.jpg"}]\n\n{}', "Line 3 of the manifest: something comes after the end"),
        ("[" * 100_000, "Line 1 of the manifest: its JSON array cannot be read"),
        (gzip.compress("\n".join(LINES * 9).encode())[:-20], "breaks off"),
        (gzip.compress("\n".join(LINES).encode())[:12] + b"x" * 50, "damaged|breaks off"),
    ],
    ids=["cut", "no end", "more after it", "nested", "gzip cut", "gzip damaged"],
)
def test_manifest_that_cannot_be_read_further_says_where(
    server: PlayingServer, data: bytes | str, message: str
) -> None:
    put(server, data)
    with pytest.raises(ConfigError, match=message):
        read(server)


def test_schedulers_in_turns_read_each_byte_about_once(server: PlayingServer) -> None:
    """Each page begins at the byte where the last one ended, whoever reads it."""
    lines = "".join(json.dumps({"input": f"s3://nst/{number}.jpg"}) + "\n" for number in range(3000))
    put(server, lines)
    found = read(server, limit=100, reopen=True)
    assert [entry.uri for entry in found] == [f"s3://nst/{number}.jpg" for number in range(3000)]
    ranges = [call.headers.get("Range") or call.headers.get("range") for call in server.calls]
    starts = [int(each.removeprefix("bytes=").removesuffix("-")) for each in ranges if each]
    assert starts == sorted(set(starts))
    assert len(starts) >= 30
    assert all(lines.encode()[start - 1 : start] == b"\n" for start in starts)


def test_manifest_that_is_replaced_between_pages_is_not_mixed_with_the_new_one(server: PlayingServer) -> None:
    put(server, "\n".join(LINES))
    page = Manifest(server.store(), URI, Cursor()).page(1, lambda uri: True, timer=lambda: 0.0)
    put(server, "\n".join(reversed(LINES)))
    with pytest.raises(BlobReplacedError):
        Manifest(server.store(), URI, page.cursor)


def test_page_is_bounded_in_bytes_and_time_where_nothing_is_found(server: PlayingServer) -> None:
    put(server, "\n" * 40_000 + LINES[0])
    ticks: Callable[[], float] = iter(range(10**6)).__next__
    page = Manifest(server.store(), URI, Cursor()).page(10, lambda uri: True, timer=ticks)
    assert (page.entries, page.is_last) == ([], False)
    assert 0 < page.cursor.offset < 40_000


def read_in_pieces(server: PlayingServer, size: int, monkeypatch: pytest.MonkeyPatch) -> list[InputEntry]:
    """Return the photos of a manifest that arrives in pieces of a size; fail if that takes long."""
    store = server.store()
    whole = store.stream_from

    def stream_from(uri: BlobUri, *, start: int = 0, tag: str | None = None) -> tuple[str, Iterator[bytes]]:
        tag, pieces = whole(uri, start=start, tag=tag)
        return tag, (piece[at : at + size] for piece in pieces for at in range(0, len(piece), size))

    monkeypatch.setattr(store, "stream_from", stream_from)
    began, found = time.process_time(), list[InputEntry]()
    manifest, is_last = Manifest(store, URI, Cursor()), False
    while not is_last:
        page = manifest.page(100, lambda uri: True, timer=lambda: 0.0)
        found, is_last = [*found, *page.entries], page.is_last
        assert time.process_time() - began < 3
    return found


LONG_LINE = json.dumps({"input": "s3://nst/a.jpg", "note": "x" * 800_000}).encode()
MEMBERS = {each: gzip.compress(bytes([each])) for each in set(LONG_LINE)}


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b"".join(MEMBERS[each] for each in LONG_LINE[:100] + LONG_LINE[-80_000:]), 2**20),
        (gzip.compress(LONG_LINE[:-1]) + gzip.compress(b"") * 90_000 + gzip.compress(b"}"), 2**20),
        (LONG_LINE, 1),
        (b"[" + LONG_LINE + b"]", 1),
        (b"input" + b",a" * 400_000 + b"\n" + b"s3://nst/a.jpg\n" * 1000, 2**20),
    ],
    ids=["members of a character", "empty members", "line in pieces", "element in pieces", "long header"],
)
def test_manifest_of_the_smallest_parts_takes_no_longer_than_its_size_explains(
    server: PlayingServer, monkeypatch: pytest.MonkeyPatch, data: bytes, size: int
) -> None:
    put(server, data)
    assert {entry.uri for entry in read_in_pieces(server, size, monkeypatch)} == {"s3://nst/a.jpg"}


def test_text_before_a_damaged_place_is_read_first(server: PlayingServer) -> None:
    put(server, gzip.compress(("\n".join(LINES) + "\n").encode()) + b"no gzip")
    manifest = Manifest(server.store(), URI, Cursor())
    page = manifest.page(100, lambda uri: True, timer=lambda: 0.0)
    assert [(entry.uri, entry.custom_id) for entry in page.entries] == EXPECTED
    for _ in range(2):
        with pytest.raises(ConfigError, match="damaged"):
            manifest.page(100, lambda uri: True, timer=lambda: 0.0)


NUMBERS = ("1" * 5000, "-" + "1" * 5000, "1e400", "NaN")


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_of_any_size_in_other_fields_do_not_matter(server: PlayingServer, number: str) -> None:
    entries = [f'{{"input": "s3://nst/{name}.jpg", "n": {number}}}' for name in NAMES]
    for text in ("\n".join(entries), "[" + ", ".join(entries) + "]"):
        put(server, text)
        assert [(entry.uri, entry.error) for entry in read(server)] == [
            (f"s3://nst/{each}.jpg", None) for each in NAMES
        ]


@pytest.mark.parametrize("value", [*NUMBERS, '{"n": ' + "1" * 5000 + "}", "[" * 50_000 + "]" * 50_000, r'"\ud800"'])
def test_line_of_a_value_that_is_no_photo_fails_alone(server: PlayingServer, value: str) -> None:
    texts = [LINES[0] + "\n" + value, f'{{"input": "s3://nst/b.jpg", "custom_id": {value}}}\n{LINES[0]}']
    texts.append('input,regions\ns3://nst/b.jpg,"' + value.replace('"', '""') + '"\ns3://nst/a.jpg,')
    if not value.startswith("[[") and "ud800" not in value:
        texts.append(f"[{LINES[0]}, {value}]")
    for text in texts:
        put(server, text)
        found = read(server)
        assert [entry.uri for entry in found if entry.error is None] == ["s3://nst/a.jpg"]
        assert [entry.error.code for entry in found if entry.error] == ["input_invalid"]


@pytest.mark.parametrize(
    "text",
    [
        "x" * 140_000 + "\n" + LINES[0],
        "input," + "x" * 140_000 + "\n" + LINES[0],
        "input,note\ns3://nst/b.jpg," + "x" * 140_000 + "\ns3://nst/a.jpg,",
    ],
    ids=["first line", "header", "line"],
)
def test_line_that_is_longer_than_a_field_of_csv_may_be_fails_alone(server: PlayingServer, text: str) -> None:
    put(server, text)
    wrong, right = sorted(read(server, limit=1, reopen=True), key=lambda entry: entry.error is None)
    assert (wrong.error and wrong.error.code, right.uri, right.error) == ("input_invalid", "s3://nst/a.jpg", None)
