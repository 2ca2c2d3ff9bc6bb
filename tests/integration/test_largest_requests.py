"""Every route of the API's document with the largest request that it accepts, against a real scheduler.

Another process asks `/livez` all the time. No request may delay it, be answered with 5xx, or cost much memory.
"""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from nst_core.queue.connection import KEY_PREFIX, make_redis
from nst_core.settings import BrokerSettings, StorageSettings
from scheduler.api.openapi import operations
from scheduler.domain.keys import new_api_key
from scheduler.local.servers import HOST, free_port
from tests.processes import wait_until

MIB = 2**20
BODY_LIMIT = 4 * MIB
MAX_GAP_S = 2.0
#: Above the scheduler's memory after its start. A body is in memory as bytes, as text and as values.
MAX_GROWTH_MIB = 250
#: The length of texts for which the document sets no limit.
LONG = 10_000
#: Asks `/livez` until its standard input ends. Prints the longest gap, less the time it was itself delayed.
POLLER = """
import sys, threading, time, http.client
host, port = sys.argv[1:]
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
worst = 0.0
while not ended.is_set():
    began = time.monotonic()
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request("GET", "/livez")
    assert connection.getresponse().read()
    connection.close()
    worst = max(worst, time.monotonic() - began)
    time.sleep(0.05)
print(worst)
"""


@dataclass
class Running:
    """A scheduler process."""

    url: str
    key: str
    pid: int

    def memory_mib(self, name: str) -> float:
        """Return the VmRSS or VmHWM of the process."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
        raise AssertionError(name)


@pytest.fixture
def scheduler_process(redis_server: BrokerSettings, s3_server: StorageSettings, tmp_path: Path) -> Iterator[Running]:
    port, key = free_port(), new_api_key()
    assert s3_server.s3_secret_key is not None
    env = os.environ | {
        "NST_HOST": HOST,
        "NST_PORT": str(port),
        "NST_DATABASE_URL": f"sqlite:///{tmp_path}/nst.db",
        "NST_REDIS_URL": redis_server.redis_url.get_secret_value(),
        "NST_S3_ENDPOINT": str(s3_server.s3_endpoint),
        "NST_S3_ACCESS_KEY": "nst",
        "NST_S3_SECRET_KEY": s3_server.s3_secret_key.get_secret_value(),
        "NST_BOOTSTRAP_API_KEY": key,
        "NST_MESSAGE_SECRET": secrets.token_hex(32),
        "NST_WEBHOOK_SECRET_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    }
    process = subprocess.Popen([sys.executable, "-m", "scheduler"], env=env)
    url = f"http://{HOST}:{port}"
    try:
        wait_until(lambda: process.poll() is not None or is_ready(url), seconds=120)
        assert process.poll() is None
        yield Running(url=url, key=key, pid=process.pid)
    finally:
        process.terminate()
        assert process.wait(60) == 0
        # The loops have ended in order: another scheduler could lead now, without waiting for this role to expire.
        with closing(make_redis(redis_server)) as client:
            assert not client.exists(f"{KEY_PREFIX}holder:collector")


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def largest(schema: dict[str, Any], schemas: dict[str, Any], depth: int = 0) -> Any:
    """Return a value as large as its schema or the limits of this test allow."""
    if "$ref" in schema:
        return largest(schemas[schema["$ref"].rpartition("/")[2]], schemas, depth)
    for each in [*schema.get("anyOf", ()), *schema.get("allOf", ())]:
        if each.get("type") != "null":
            return largest(each, schemas, depth)
    if "enum" in schema:
        return max(schema["enum"], key=lambda value: len(str(value)))
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        found = {name: largest(each, schemas, depth + 1) for name, each in schema.get("properties", {}).items()}
        inner = schema.get("additionalProperties")
        if isinstance(inner, dict) and depth < 8:
            for number in range(schema.get("maxProperties", 500)):
                found[f"{number:04d}".ljust(64, "k")] = largest(inner, schemas, depth + 2)
        return found
    if kind == "array":
        if "prefixItems" in schema or depth > 8:
            return []
        return [largest(schema.get("items", {}), schemas, depth + 1) for _ in range(schema.get("maxItems", 500))]
    if kind == "string":
        return text(schema)
    if kind in ("integer", "number"):
        return schema.get("maximum", schema.get("exclusiveMinimum", 0) + 1)
    return True if kind == "boolean" else "v" * 200


def text(schema: dict[str, Any]) -> str:
    if schema.get("format") == "date-time":
        return "2999-01-01T00:00:00.000000+00:00"
    pattern, most = str(schema.get("pattern", "")), int(schema.get("maxLength", LONG))
    if pattern.startswith("^s3://"):
        return ("s3://nst/" + ("x" * 240 + "/") * 20)[: most - 1] + "y"
    if pattern:
        return "a" * (most if "maxLength" in schema else 8)
    return "x" * most


def bodies(operation: dict[str, Any], schemas: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield bodies for a route: the largest valid one, and large invalid ones."""
    content = operation.get("requestBody", {}).get("content", {})
    if not content:
        yield "", b""
    if "application/json" in content:
        kind, whole = "application/json", largest(content["application/json"]["schema"], schemas)
        yield kind, json.dumps(whole).encode()[:BODY_LIMIT]
        pad = '{"x": "%s"}'
        yield kind, (pad % ("x" * (BODY_LIMIT - len(pad)))).encode()
        yield kind, b"{" + b",".join(b'"%x":1' % number for number in range(400_000))[: BODY_LIMIT - 9] + b"}"
        yield kind, b"[" * BODY_LIMIT
        yield kind, b'{"x":' + b"9" * (BODY_LIMIT - 6) + b"}"
        yield kind, json.dumps({"a" * 60 + str(number): "\U0001f600" for number in range(9000)}).encode()
        yield kind, json.dumps({"input": {"uris": [{"a": [1, 2]}] * 3000}, "card": [{}] * 900}).encode()
    if "multipart/form-data" in content:
        head = b'--b\r\nContent-Disposition: form-data; name="painting"; filename="a.png"\r\n\r\n'
        yield "multipart/form-data; boundary=b", head + b"\r\n-" * (8 * MIB // 3) + b"\r\n--b--\r\n"
    if "application/octet-stream" in content:
        yield "application/octet-stream", os.urandom(MIB) * 32


def targets(path: str, operation: dict[str, Any], ids: dict[str, str]) -> Iterator[str]:
    """Yield a path with existing ids, and with the longest ids and all query parameters."""
    yield path.format_map(ids)
    longest = {name: ("a" * 64 if name not in ("item_id", "delivery_id") else str(2**63 - 1)) for name in ids}
    query = [
        f"{each['name']}={each['schema'].get('maximum', 'a' * min(each['schema'].get('maxLength', 64), 1000))}"
        for each in operation.get("parameters", ())
        if each["in"] == "query"
    ]
    yield path.format_map(longest) + ("?" + "&".join(query) if query else "")
    yield path.format_map(ids) + "?" + "a&" * 3000


@contextmanager
def polled(running: Running) -> Iterator[list[float]]:
    """Ask `/livez` from another process during the block. Afterwards the list holds the longest gap."""
    url = httpx.URL(running.url)
    command = [sys.executable, "-c", POLLER, str(url.host), str(url.port)]
    gaps: list[float] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as poller:
        yield gaps
        out, _ = poller.communicate("", timeout=120)
        assert poller.returncode == 0
        gaps.append(float(out))


def make_things(client: httpx.Client) -> dict[str, str]:
    """Make the resources that routes name, and many large jobs to list. Return the ids by parameter."""
    upload = client.post("/v1/uploads").json()
    folder = "/".join(["x" * 240] * 3)
    uris = [f"{upload['prefix']}{folder}/{number:04d}.jpg" for number in range(1000)]
    styles = [each["name"] for each in client.get("/v1/styles").json()["data"]][:1]
    job = {"input": {"uris": uris}, "styles": styles, "metadata": {f"k{n}": "v" * 500 for n in range(16)}}
    made = [client.post("/v1/jobs", json=job) for _ in range(15)]
    assert {each.status_code for each in made} == {202}, made[0].text
    webhook = client.post("/v1/webhooks", json={"url": "https://example.com/", "description": "d" * 500}).json()["id"]
    delivery = client.post(f"/v1/webhooks/{webhook}/test").json()["id"]
    key = client.post("/v1/keys", json={"name": "k" * 100, "scopes": ["jobs:read"]}).json()["id"]
    ids = {"job_id": made[0].json()["id"], "item_id": "0", "run_id": "run_1", "name": styles[0], "prefix": key}
    ids |= {"upload_id": upload["id"], "path": "a/b.jpg", "webhook_id": webhook, "delivery_id": str(delivery)}
    return ids | {"tenant_id": "another", "file": "a.jpg"}


@pytest.mark.slow
def test_no_request_of_any_route_delays_the_others(scheduler_process: Running) -> None:
    running = scheduler_process
    headers = {"Authorization": f"Bearer {running.key}"}
    with httpx.Client(base_url=running.url, headers=headers, timeout=120) as client, polled(running) as gaps:
        document = client.get("/openapi.json").json()
        schemas, ids = document["components"]["schemas"], make_things(client)
        before, sent, slowest = running.memory_mib("VmRSS"), 0, (0.0, "")
        # Routes that end or delete things come last.
        routes = sorted(operations(document), key=lambda each: (each[1] == "delete", "cancel" in each[0]))
        for path, method, operation in routes:
            for kind, body in bodies(operation, schemas):
                for target in targets(path, operation, ids) if not body else [path.format_map(ids)]:
                    if path.endswith("/events") and "?" not in target:
                        continue  # a stream stays open as long as its job
                    began = time.monotonic()
                    answer = client.request(method, target, content=body, headers={"Content-Type": kind})
                    place = (method, target[:200], kind, len(body), answer.status_code)
                    assert answer.status_code < 500 or answer.status_code == 502, (place, answer.text[:500])
                    assert answer.is_success or len(answer.content) < 16_000, place
                    assert len(answer.content) < 4 * MIB, place
                    assert time.monotonic() - began < 60, place
                    sent += 1
                    slowest = max(slowest, (time.monotonic() - began, str(place)))
        peak = running.memory_mib("VmHWM")
    assert sent > 200
    print(f"{sent} requests, slowest {slowest}")
    print(f"/livez gap {gaps[0]:.2f} s, memory {before:.0f} MiB before and {peak:.0f} MiB at most")
    assert gaps[0] < MAX_GAP_S
    assert peak < before + MAX_GROWTH_MIB
