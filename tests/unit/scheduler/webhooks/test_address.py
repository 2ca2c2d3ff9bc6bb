"""Where webhooks may be sent."""

from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from scheduler.webhooks.address import AddressError, Rules

RULES = Rules()
PUBLIC = ("93.184.216.34", "1.1.1.1", "192.0.1.1", "100.128.0.1", "2606:2800:220:1::1", "2a00:1450:4001:81b::200e")
BAD = (
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:93.184.216.34",
    "::ffff:0:7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::5db8:d822",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:5db8:d822::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
)


def answering(*addresses: str) -> "Resolver":
    return Resolver(addresses)


class Resolver:
    """A resolver with one answer."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.addresses


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_taken(address: str) -> None:
    RULES.check(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    assert RULES.parse(f"https://{host}/hook").literal == ip_address(address)


@pytest.mark.parametrize("address", BAD)
def test_other_addresses_are_refused_as_text_and_from_dns(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(AddressError):
        RULES.parse(f"https://{host}/hook")
    target = RULES.parse("https://hooks.example.com/hook")
    with pytest.raises(AddressError):
        RULES.resolve(target, answering(address))
    with pytest.raises(AddressError):
        RULES.resolve(target, answering("93.184.216.34", address))


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0X7F.1",
        "127.1",
        "127.0.1",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "127.0.0.0x1",
        "127.0.0.01",
        "1.1.1.1.1",
        "256.1.1.1",
        "3221225985",
        "127.0.0.1.",
        "2130706433.",
        "0x",
        "example.0x7f",
    ],
)
def test_other_forms_of_ipv4_addresses_are_refused(host: str) -> None:
    with pytest.raises(AddressError):
        RULES.parse(f"https://{host}/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hook",
        "//example.com/",
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://:@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com:22/",
        "https://example.com:80/",
        "https://example.com:0/",
        "https://example.com:1023/",
        "https://example.com:65536/",
        "https://example.com:x/",
        "https://example.com/#part",
        "https://example.com/#",
        "https://example.com/a b",
        "https://example.com/\r\nX: y",
        "https://example.com\\@127.0.0.1/",
        "https://exam\tple.com/",
        "https://bücher.example/",
        "https://１２７.0.0.1/",
        "https://127。0。0。1/",
        "https://-example.com/",
        "https://exa..mple.com/",
        "https://exa%6dple.com/",
        "https://[::1",
        "https://[fe80::1%25eth0]/",
        "https://[2606:2800:220:1::1%1]/",
        "https://[example.com]/",
        "https://localhost/",
        "https://LOCALHOST./",
        "https://db.internal/",
        "https://metadata.google.internal/",
        "https://printer.local/",
        f"https://{'a' * 64}.com/",
        f"https://example.com/{'a' * 2048}",
    ],
)
def test_addresses_that_are_none_for_webhooks_are_refused(url: str) -> None:
    with pytest.raises(AddressError):
        RULES.parse(url)


def test_an_address_is_read_in_its_parts() -> None:
    target = RULES.parse("https://Hooks.Example.COM.:8443/a/b?c=%20d")
    assert (target.host, target.port, target.path) == ("hooks.example.com", 8443, "/a/b?c=%20d")
    assert target.authority == "hooks.example.com:8443"
    assert RULES.parse("https://xn--bcher-kva.example").path == "/"
    assert RULES.parse("https://example.com:443/").authority == "example.com"
    assert RULES.parse("https://[2606:2800:220:1::1]/").authority == "[2606:2800:220:1::1]"


def test_a_name_is_resolved_once_and_its_addresses_are_what_is_connected_to() -> None:
    resolver = answering("93.184.216.34", "2606:2800:220:1::1", "93.184.216.34")
    target = RULES.parse("https://hooks.example.com:8443/")
    assert RULES.resolve(target, resolver) == ["93.184.216.34", "2606:2800:220:1::1"]
    assert resolver.asked == [("hooks.example.com", 8443)]


@pytest.mark.parametrize("answer", [(), ("example.org",), ("fe80::1%eth0",), ("2606:2800:220:1::1%3",)])
def test_answers_of_dns_that_are_no_addresses_are_refused(answer: tuple[str, ...]) -> None:
    with pytest.raises(AddressError):
        RULES.resolve(RULES.parse("https://hooks.example.com/"), answering(*answer))


def test_a_name_without_address_is_refused() -> None:
    def resolver(host: str, port: int) -> Sequence[str]:
        raise OSError("Name or service not known")

    with pytest.raises(AddressError, match=r"hooks\.example\.com has no address"):
        RULES.resolve(RULES.parse("https://hooks.example.com/"), resolver)


def test_own_networks_and_http_are_taken_where_they_are_allowed() -> None:
    rules = Rules(allow_http=True, networks=(ip_network("10.1.0.0/16"), ip_network("fd00::/8")))
    assert rules.parse("http://10.1.2.3:8080/").authority == "10.1.2.3:8080"
    assert rules.parse("http://[fd00::5]/").port == 80
    assert rules.resolve(rules.parse("https://db.internal/"), answering("10.1.2.3")) == ["10.1.2.3"]
    for url in ("http://10.2.0.1/", "http://127.0.0.1/", "http://example.com:443/", "http://[::ffff:10.1.2.3]/"):
        with pytest.raises(AddressError):
            rules.parse(url)
