"""Redis behind TLS: nobody gets a byte of ours whose certificate is not trusted, unless the address says so."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from nst_core.errors import BrokerUnavailableError, ConfigError
from nst_core.protocol.chunks import StylizeChunk
from nst_core.settings import BrokerSettings
from scheduler.local.servers import HOST
from scheduler.operations.redis_checks import check_redis
from tests.brokers import Broker
from tests.integration.receiver import Certificates, make_certificates
from tests.integration.test_failover import EVENT, chunk


@dataclass
class TlsRedis:
    """A port that ends TLS in front of Redis, and what clients sent through it."""

    port: int
    authority: Path
    received: list[bytes] = field(default_factory=list)

    def settings(self, options: str = "", *, host: str = "localhost") -> BrokerSettings:
        return BrokerSettings(redis_url=SecretStr(f"rediss://{host}:{self.port}/0{options}"))

    @property
    def trusted(self) -> str:
        return f"?ssl_ca_certs={self.authority}"


@pytest.fixture(scope="module")
def of_localhost(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("localhost"), "localhost")


@pytest.fixture
def tls_redis(redis_server: BrokerSettings, of_localhost: Certificates) -> Iterator[TlsRedis]:
    target = int(redis_server.redis_url.get_secret_value().rsplit(":", 1)[1].removesuffix("/0"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(of_localhost.server)
    with socket.create_server((HOST, 0)) as server:
        found = TlsRedis(port=server.getsockname()[1], authority=of_localhost.authority)

        def accept() -> None:
            with suppress(OSError):  # the test is over
                while True:
                    client = server.accept()[0]
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        def serve(client: socket.socket) -> None:
            with (
                suppress(OSError),
                context.wrap_socket(client, server_side=True) as plain,
                socket.create_connection((HOST, target)) as upstream,
            ):
                threading.Thread(target=pump, args=(upstream, plain, lambda data: None), daemon=True).start()
                pump(plain, upstream, found.received.append)

        threading.Thread(target=accept, daemon=True).start()
        yield found
        server.shutdown(socket.SHUT_RDWR)


def pump(source: socket.socket, target: socket.socket, note: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            note(data)
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextmanager
def connected(settings: BrokerSettings) -> Iterator[Broker]:
    with closing(Broker(settings, patient=False)) as broker:
        yield broker


@pytest.mark.parametrize(
    ("options", "host"),
    [
        ("", "localhost"),
        ("TRUSTED", HOST),
        ("?ssl_ca_certs=/nowhere.pem", "localhost"),
        ("?ssl_ca_certs=FOLDER", "localhost"),
        ("?ssl_ca_certs=FOLDER/text.pem", "localhost"),
        ("?ssl_ca_certs=FOLDER/broken.pem", "localhost"),
    ],
    ids=["unknown authority", "certificate of another host", "no such file", "a folder", "a text", "a broken file"],
)
def test_a_server_that_is_not_trusted_gets_no_byte(
    tls_redis: TlsRedis, options: str, host: str, tmp_path: Path
) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\n#\n-----END CERTIFICATE-----\n")
    options = options.replace("FOLDER", str(tmp_path))
    settings = tls_redis.settings(options.replace("TRUSTED", tls_redis.trusted), host=host)
    with connected(settings) as broker:
        calls: list[Callable[[], None]] = [lambda: broker.send_chunk(chunk(1)), lambda: broker.publish(EVENT)]
        for send in [*calls, broker.ping]:
            with pytest.raises(BrokerUnavailableError):
                send()
        # As a worker does, whose side of Celery asks our own client nothing before.
        with broker.celery.connection() as connection, suppress(redis.RedisError):
            connection.connect()
        assert tls_redis.received == []
        with pytest.raises(ConfigError, match="The certificate of the server of NST_REDIS_URL cannot be checked: "):
            broker.check_access()
    (finding,) = check_redis(settings)
    assert (finding.check, finding.code) == ("redis", "redis_untrusted")


@pytest.mark.parametrize(
    "options",
    ["TRUSTED", "?ssl_cert_reqs=none", "TRUSTED&ssl_check_hostname=false", "TRUSTED&ssl_cert_reqs=required"],
)
def test_work_and_events_go_to_a_server_that_the_address_trusts(
    broker: Broker, tls_redis: TlsRedis, options: str
) -> None:
    with connected(tls_redis.settings(options.replace("TRUSTED", tls_redis.trusted))) as secure:
        secure.check_access()
        secure.send_chunk(chunk(1))
        secure.publish(EVENT)
        assert secure.take(StylizeChunk.queue)["chunk_id"] == 1
    assert tls_redis.received
