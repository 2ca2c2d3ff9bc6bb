"""Sending webhooks to a real HTTPS server: pinned address, verified certificate, limited time and size."""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path

import pytest

from scheduler.local.servers import HOST
from scheduler.webhooks.address import Rules
from scheduler.webhooks.send import MAX_ANSWER_BYTES, Answer, Sender
from tests.integration.receiver import NAME, Certificates, Receiver, receiving, reply

NOW = 1_800_000_000.0
OWN = Rules(networks=(ip_network("127.0.0.1/32"),))


class Dns:
    """A resolver that answers differently each time."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def send(certificates: Certificates) -> Callable[..., Answer]:
    def send(url: str, *, dns: Dns | None = None, rules: Rules = OWN, timeout_s: float = 10.0) -> Answer:
        sender = Sender(
            rules,
            clock=lambda: NOW,
            resolver=dns or Dns([HOST]),
            timeout_s=timeout_s,
            ca_file=certificates.authority,
        )
        return sender.send(url, {"User-Agent": "nst/test", "webhook-id": "m"}, b"body")

    return send


def test_the_connection_uses_the_checked_address_with_the_name_in_sni_and_host(
    receiver: Receiver, send: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    answer = send(receiver.url)
    assert (answer.status, answer.succeeded, answer.error) == (204, True, None)
    [request] = receiver.received
    assert (request.path, request.body) == ("/hook?x=1", b"body")
    assert request.headers["Host"] == f"{NAME}:{receiver.port}"
    assert request.headers["User-Agent"] == "nst/test"
    assert receiver.names == [NAME]


def test_a_dns_answer_that_changes_after_the_check_has_no_effect(
    receiver: Receiver, send: Callable[..., Answer]
) -> None:
    """If the sender resolved the name again, it would connect to the second address."""
    dns = Dns([HOST], ["127.0.0.2"])
    assert send(receiver.url, dns=dns).succeeded
    assert dns.asked == 1
    refused = send(receiver.url, dns=dns)
    assert (refused.status, refused.error) == (None, "127.0.0.2 is not a public address.")
    assert len(receiver.received) == 1


def test_one_forbidden_address_among_good_ones_refuses_all(receiver: Receiver, send: Callable[..., Answer]) -> None:
    assert "169.254.169.254" in (send(receiver.url, dns=Dns([HOST, "169.254.169.254"])).error or "")
    assert receiver.received == []


def test_this_machine_cannot_be_reached_without_allowed_networks(
    receiver: Receiver, send: Callable[..., Answer]
) -> None:
    for url in (receiver.url, f"https://{HOST}:{receiver.port}/", f"https://[::ffff:{HOST}]:{receiver.port}/"):
        assert "public" in (send(url, rules=Rules()).error or "")
    assert receiver.received == []
    assert receiver.names == []


def test_a_certificate_for_another_name_is_refused(receiver: Receiver, send: Callable[..., Answer]) -> None:
    answer = send(receiver.url.replace(NAME, "other.example.com"))
    assert answer.status is None
    assert "certificate" in (answer.error or "")
    assert receiver.received == []


def test_a_certificate_of_an_unknown_authority_is_refused(receiver: Receiver) -> None:
    answer = Sender(OWN, clock=lambda: NOW, resolver=Dns([HOST])).send(receiver.url, {}, b"")
    assert "certificate" in (answer.error or "")
    assert receiver.received == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_failures_and_are_not_followed(
    receiver: Receiver, send: Callable[..., Answer], status: int
) -> None:
    receiver.answer(status, headers={"Location": receiver.url})
    answer = send(receiver.url)
    assert (answer.status, answer.succeeded) == (status, False)
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120.0), ("Fri, 15 Jan 2027 08:01:00 GMT", 60.0), ("soon", None), ("-5", None), ("9" * 50, 999999999.0)],
)
def test_retry_after_is_read_as_seconds_or_date(
    receiver: Receiver, send: Callable[..., Answer], value: str, seconds: float | None
) -> None:
    receiver.answer(503, headers={"Retry-After": value})
    assert send(receiver.url).retry_after_s == seconds


def trickle(handler: BaseHTTPRequestHandler) -> None:
    """Send an endless header, one byte at a time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    for _ in range(600):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)


def test_a_trickling_answer_is_cut_off_at_the_time_limit(receiver: Receiver, send: Callable[..., Answer]) -> None:
    receiver.answers = [trickle]
    started = time.monotonic()
    answer = send(receiver.url, timeout_s=1.0)
    assert answer.error == "There was no answer within 1 s."
    assert time.monotonic() - started < 15  # the trickle takes 30 s


def test_an_endless_header_is_cut_off_at_the_size_limit(receiver: Receiver, send: Callable[..., Answer]) -> None:
    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for _ in range(100):
            handler.wfile.write(b"X: " + b"x" * 60000 + b"\r\n")

    receiver.answers = [flood]
    assert send(receiver.url).error == f"The response has more than {MAX_ANSWER_BYTES // 1024} KiB."


def test_an_endless_body_is_ignored(receiver: Receiver, send: Callable[..., Answer]) -> None:
    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(600):
            handler.wfile.write(b"x" * 1000)
            time.sleep(0.05)

    receiver.answers = [flood]
    assert send(receiver.url).succeeded


def test_an_answer_that_is_not_http_is_a_failure(receiver: Receiver, send: Callable[..., Answer]) -> None:
    def greet(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")

    receiver.answers = [greet]
    answer = send(receiver.url)
    assert (answer.status, answer.error) == (None, "The response is not valid HTTP.")


def test_a_server_that_accepts_a_connection_and_never_answers_times_out(send: Callable[..., Answer]) -> None:
    with socket.create_server((HOST, 0)) as silent:
        answer = send(f"https://{NAME}:{silent.getsockname()[1]}/", timeout_s=0.5)
    assert answer.error == "There was no answer within 0.5 s."


def test_dns_that_hangs_times_out(receiver: Receiver, certificates: Certificates) -> None:
    release = threading.Event()

    def hanging(host: str, port: int) -> Sequence[str]:
        release.wait(30)
        return [HOST]

    sender = Sender(OWN, clock=lambda: NOW, resolver=hanging, timeout_s=0.3, ca_file=certificates.authority)
    assert sender.send(receiver.url, {}, b"").error == "There was no answer within 0.3 s."
    release.set()
    assert receiver.received == []


def test_the_next_address_is_tried_if_one_does_not_listen(receiver: Receiver, certificates: Certificates) -> None:
    rules = Rules(networks=(ip_network("127.0.0.0/8"),))
    sender = Sender(rules, clock=lambda: NOW, resolver=Dns(["127.0.0.9", HOST]), ca_file=certificates.authority)
    assert sender.send(receiver.url, {}, b"").succeeded


def test_plain_http_is_used_if_it_is_allowed(send: Callable[..., Answer], tmp_path: Path) -> None:
    with receiving(None) as plain:
        url = f"http://{HOST}:{plain.port}/"
        rules = Rules(allow_http=True, networks=OWN.networks)
        assert send(url, rules=rules).succeeded
        assert send(url).error == "The address must begin with https://."
        plain.answers = [lambda handler: reply(handler, 410)]
        assert send(url, rules=rules).status == 410
    assert "The connection failed" in (send(url, rules=rules).error or "")
