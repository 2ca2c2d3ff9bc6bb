"""Hostile requests: valid requests for every route of the API's document with one change, sent in unusual ways."""

import copy
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

#: Ways to send a request, and how often each is used.
_WAYS = ("whole",) * 40 + ("pieces", "slow", "half_open", "aborted", "chunked", "short", "long", "garbage")
#: The default limit of a body. The largest bodies are just below or just above it.
_BODY_LIMIT = 4 * 2**20
_TEXTS = (
    "",
    "\0",
    "\ud800",
    "../../../etc/passwd",
    "s3://nst/../../x",
    "s3://",
    "s3://nst/" + "a/" * 600,
    "${jndi:ldap://x}",
    "' OR 1=1 --",
    "\u202e\u0000\uffff",
    "2026-13-45T99:99:99Z",
    "http://169.254.169.254/",
    "http://[::ffff:127.0.0.1]:6379/",
    "%00%ff",
    "{stem.__class__.__mro__}",
    "{index:>1000000000}",
    "-1",
    "NaN",
)
_NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400, 0.1, -0.0, 1e308, float("inf"), float("nan"))
_QUERIES = ("limit", "after", "status", "label", "version", "wait", "error", "style", "cursor", "types", "x")
_CONTENT_TYPES = (
    "application/json",
    "application/json; charset=utf-16",
    "text/plain",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "application/x-www-form-urlencoded",
    "application/octet-stream",
    "a/b; " + "c=d;" * 200,
    "",
)


@dataclass(frozen=True, kw_only=True)
class HostileRequest:
    """A request and how to send it."""

    method: str
    #: The encoded path and query.
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    #: How to send it: one of the ways in `sending`.
    way: str
    #: The route and the change, for messages.
    label: str


@dataclass(frozen=True)
class _Route:
    method: str
    path: str
    bodies: tuple[Any, ...]


def hostile_requests(
    document: Mapping[str, Any], *, count: int, seed: int, key: str, known: Mapping[str, str]
) -> Iterator[HostileRequest]:
    """Yield `count` requests for the routes of an OpenAPI document, with a valid key in most of them.

    `known` has values of path parameters that exist.
    """
    routes = list(_routes(document))
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        yield _request(routes[number % len(routes)], rng, key=key, known=known)


def _routes(document: Mapping[str, Any]) -> Iterator[_Route]:
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        for method in ("get", "put", "post", "delete", "patch", "head"):
            if method in item:
                yield _Route(method.upper(), path, tuple(_examples(item[method], schemas)))


def _examples(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[Any]:
    content = operation.get("requestBody", {}).get("content", {})
    for described in content.values():
        schema = described.get("schema", {})
        names = [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]
        for reference in names:
            yield from schemas.get(reference.get("$ref", "").rpartition("/")[2], {}).get("examples", ())
        yield from (example["value"] for example in described.get("examples", {}).values() if "value" in example)


def _request(route: _Route, rng: random.Random, *, key: str, known: Mapping[str, str]) -> HostileRequest:
    body, change = b"", "body"
    if route.bodies and rng.random() < 0.9:
        body, change = _body(copy.deepcopy(rng.choice(route.bodies)), rng)
    elif route.method in ("POST", "PUT") and rng.random() < 0.5:
        body, change = rng.randbytes(rng.choice((0, 1, 100, 10_000))), "random bytes"
    headers = [("Authorization", f"Bearer {key}"), ("Content-Type", "application/json")]
    headers = _headers(headers, rng)
    target = _path(route.path, rng, known) + _query(rng)
    way = rng.choice(_WAYS)
    label = f"{route.method} {route.path} ({change}, {way})"
    return HostileRequest(method=route.method, target=target, headers=tuple(headers), body=body, way=way, label=label)


def _path(path: str, rng: random.Random, known: Mapping[str, str]) -> str:
    parts = []
    for part in path.split("/"):
        if not part.startswith("{"):
            parts.append(part)
        elif rng.random() < 0.6:
            parts.append(quote(known.get(part.strip("{}").partition(":")[0], "1"), safe=""))
        else:
            text = rng.choice((*_TEXTS, "x" * rng.choice((1, 300, 20_000)), str(rng.choice(_NUMBERS))))
            parts.append(quote(text.encode("utf-8", "surrogatepass"), safe=rng.choice(("", "/."))))
    return "/".join(parts)


def _query(rng: random.Random) -> str:
    if rng.random() < 0.6:
        return ""
    values = [
        quote(str(rng.choice((*_TEXTS, *_NUMBERS))).encode("utf-8", "surrogatepass"))
        for _ in range(rng.choice((1, 1, 2, 5, 500)))
    ]
    return "?" + "&".join(f"{rng.choice(_QUERIES)}={value}" for value in values)


def _headers(headers: list[tuple[str, str]], rng: random.Random) -> list[tuple[str, str]]:
    roll = rng.random()
    if roll < 0.6:
        return headers
    auth, kind = headers
    odd_keys = (
        "",
        "Bearer",
        "Bearer ",
        "Basic eDp5",
        "Bearer nst_" + "x" * 52,
        "Bearer " + "x" * 30_000,
        "bearer \xff",
    )
    more = {
        0: [("Authorization", rng.choice(odd_keys)), kind],
        1: [auth, ("Content-Type", rng.choice(_CONTENT_TYPES))],
        2: [auth, kind, *((f"X-{number}", "y") for number in range(rng.choice((10, 90, 1000, 5000))))],
        3: [auth, kind, ("X-Long", "y" * rng.choice((100, 10_000, 60_000, 200_000)))],
        4: [auth, kind, ("Idempotency-Key", rng.choice(("", "\x7f", "k" * 300, "same")))],
        5: [auth, kind, ("Prefer", ", ".join(["respond-async", "wait=99999999"] * rng.choice((1, 50))))],
        6: [auth, kind, ("Range", "bytes=" + ",".join(f"{n}-{n}" for n in range(rng.choice((1, 1000)))))],
        7: [auth, kind, ("Accept", ",".join(["*/*;q=0.1"] * 500)), ("Accept-Encoding", "gzip" + ",x" * 500)],
        8: [auth, kind, ("X-Request-Id", rng.choice(("", "a" * 5000, "\t", "../x")))],
        9: [auth, kind, ("Last-Event-ID", rng.choice(("-1", "x", str(10**40)))), ("Expect", "100-continue")],
        10: [auth, kind, ("Host", rng.choice(("", "a" * 300, "evil.example"))), ("X-Forwarded-For", "1.2.3.4," * 500)],
        11: [auth, kind, ("If-None-Match", '"' + "x" * 5000 + '"'), ("Content-Encoding", "gzip")],
    }
    return more[rng.randrange(len(more))]


def _body(value: Any, rng: random.Random) -> tuple[bytes, str]:
    change = rng.choice(
        ("replace", "replace", "remove", "add", "grow", "keys", "nest", "text", "raw", "limit", "twice")
    )
    match change:
        case "nest":
            depth = 10 ** rng.randint(1, 6)
            opened, closed = rng.choice((("[", "]"), ('{"a":', "}")))
            inner = (opened * depth + "1" + closed * depth)[: _BODY_LIMIT - 2000]
            return _with_field(value, inner, rng), change
        case "keys":
            keys = 10 ** rng.randint(1, 5) * rng.choice((1, 4))
            more = ",".join(f'"k{number}":1' for number in range(keys))
            return _with_field(value, "{" + more + "}", rng, merged="," + more), change
        case "limit":
            size = _BODY_LIMIT + rng.choice((-1000, -1, 0, 1, 100_000))
            text = json.dumps(value, default=str)
            return (text[:-1] + " " * max(0, size - len(text)) + text[-1:]).encode(), change
        case "raw":
            raw = ("", "nul", "{", "[]", "1", '"x"', "{}{}", "\ufeff{}", "[" * 100_000, '{"a":' * 50_000, "1" * 100_000)
            return rng.choice((*(text.encode() for text in raw), b"\xff\xfe{\0}\0", b"\x80" * 100)), change
        case "twice":
            text = json.dumps(value)
            return (text[:-1] + "," + text[1:] if isinstance(value, dict) and value else text).encode(), change
    return _dumped(_changed(value, change, rng)), change


def _with_field(value: Any, text: str, rng: random.Random, *, merged: str | None = None) -> bytes:
    """Return an object with a raw value in one of its fields, or, if `merged`, with raw fields added to its own."""
    if not isinstance(value, dict) or not value:
        return text.encode()
    if merged is not None and rng.random() < 0.5:
        return (json.dumps(value)[:-1] + merged + "}").encode()
    field = rng.choice((*value, "metadata", "options", "card"))
    rest = {name: each for name, each in value.items() if name != field}
    return (json.dumps(rest)[:-1] + ("," if rest else "") + f'"{field}":{text}}}').encode()


def _changed(value: Any, change: str, rng: random.Random) -> Any:
    """Return a value changed at one random place."""
    places = list(_places(value))
    holder, name = rng.choice(places) if places else ([value], 0)
    if change == "remove":
        del holder[name]
    elif change == "add":
        target = holder[name] if isinstance(holder[name], dict) else holder
        if isinstance(target, dict):
            target[rng.choice((*_TEXTS, "x"))] = _odd(rng)
        else:
            target.append(_odd(rng))
    elif change == "grow":
        times = 10 ** rng.randint(1, 5)
        old = holder[name]
        holder[name] = old * times if isinstance(old, str | list) and len(old) * times < _BODY_LIMIT else [old] * times
    elif change == "text":
        holder[name] = rng.choice(_TEXTS) + "x" * 10 ** rng.randint(0, 6)
    else:
        holder[name] = _odd(rng)
    return value if places else holder[0] if holder else None


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for name, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, name
            yield from _places(each)


def _odd(rng: random.Random) -> Any:
    makes: tuple[Any, ...] = (
        None,
        True,
        False,
        [],
        {},
        [[]],
        {"": None},
        rng.choice(_TEXTS),
        rng.choice(_NUMBERS),
        [None] * 1000,
    )
    return rng.choice(makes)


def _dumped(value: Any) -> bytes:
    # Lone surrogates are escaped. Infinities are written in a way that is not valid JSON.
    return json.dumps(value)[: _BODY_LIMIT + 1000].encode()
