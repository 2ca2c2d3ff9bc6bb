"""A real HTTPS server that receives webhooks. Its certificate comes from a certificate authority of the tests."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from scheduler.local.servers import HOST

NAME = "hooks.example.com"


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request that the server received."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(kw_only=True)
class Receiver:
    """What the server received, and its prepared answers. The last answer is repeated."""

    port: int
    received: list[Received] = field(default_factory=list)
    #: Called with the raw connection's handler; by default each request is answered with 204.
    answers: list[Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=list)
    #: Names that TLS clients asked for.
    names: list[str | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.port}/hook?x=1"

    def answer(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        """Prepare answers."""
        for status in statuses:
            self.answers.append(lambda handler, status=status: reply(handler, status, headers))  # type: ignore[misc]


def reply(handler: BaseHTTPRequestHandler, status: int, headers: dict[str, str] | None = None) -> None:
    """Answer a request with an empty body."""
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files of a certificate authority, and of a server whose certificate it signed."""

    authority: Path
    server: Path


def make_certificates(folder: Path, name: str = NAME) -> Certificates:
    """Make an authority and a certificate for a name."""
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
    now = datetime.now(UTC)

    def builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        found = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        found = found.serial_number(x509.random_serial_number())
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        found = found.add_extension(identifier, critical=False)
        return found.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))

    usage = x509.KeyUsage(*(name in (5, 6) for name in range(9)))
    authority = builder(issuer, authority_key).add_extension(x509.BasicConstraints(True, None), critical=True)
    authority = authority.add_extension(usage, critical=True).add_extension(
        x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False
    )
    server = builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), server_key)
    server = server.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    files = Certificates(authority=folder / "authority.pem", server=folder / "server.pem")
    pem = serialization.Encoding.PEM
    files.authority.write_bytes(authority.sign(authority_key, hashes.SHA256()).public_bytes(pem))
    private = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files.server.write_bytes(server.sign(authority_key, hashes.SHA256()).public_bytes(pem) + private)
    return files


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing about clients that hang up, as a sender does when its time-out is over."""


@contextmanager
def receiving(certificates: Certificates | None) -> Iterator[Receiver]:
    """Run a receiver for the block. Without certificates it speaks plain HTTP."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            receiver.received.append(Received(path=self.path, headers=dict(self.headers.items()), body=body))
            answers = receiver.answers
            answer = (answers.pop(0) if len(answers) > 1 else answers[0]) if answers else lambda self: reply(self, 204)
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = _Server((HOST, 0), Handler)
    receiver = Receiver(port=server.server_address[1])
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.server)

        def note(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
            receiver.names.append(name)

        context.sni_callback = note
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
