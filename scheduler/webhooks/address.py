"""Where webhooks may be sent: only to public addresses, however they are written and whatever DNS answers.

The scheduler runs in a network that its clients cannot reach, and an address from a client must not lead back into it.
A name is resolved once for each try. All of its addresses are checked, and the connection is made to a checked address,
not to the name. So it does not matter if DNS gives another answer afterwards.
"""

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

from nst_core.errors import NstError
from scheduler.settings import SchedulerSettings

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
#: Returns the addresses of a host's name as text; raises OSError if there are none.
Resolver = Callable[[str, int], Sequence[str]]

MAX_URL = 2048
#: IPv4 networks that are not public. Listed here because the lists of `ipaddress` change with Python's version.
_BAD_IPV4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network, and the unspecified address
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT; metadata of some clouds
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local; metadata of most clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
        ),
    )
)
#: The public IPv6 network. Mapped and translated IPv4 (::/96, ::ffff:0:0/96, 64:ff9b::/96) is outside of it.
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_BAD_IPV6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: carries any IPv4 address
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
#: What `inet_aton` reads as an IPv4 address, or as a part of one: decimal, octal or hexadecimal.
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_LOCAL_NAMES = ("localhost", "local", "internal", "localdomain", "home.arpa")


class AddressError(NstError):
    """A webhook cannot be sent to an address."""

    code = "address_refused"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A webhook's address, checked as far as possible without DNS."""

    https: bool
    #: In lower case, without brackets; international names as xn--.
    host: str
    port: int
    #: The path and the query, as in the request line.
    path: str
    #: The host as an IP address; None if it is a name.
    literal: Address | None

    @property
    def authority(self) -> str:
        """Return the Host header."""
        host = f"[{self.host}]" if isinstance(self.literal, IPv6Address) else self.host
        return host if self.port == (443 if self.https else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What an installation allows beyond public https addresses."""

    allow_http: bool = False
    #: Private networks that webhooks may be sent to.
    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, settings: SchedulerSettings) -> "Rules":
        """Return what the settings allow."""
        return cls(allow_http=settings.webhook_allow_http, networks=settings.webhook_allowed_networks)

    def parse(self, url: str) -> Target:
        """Return the target of an address; raise AddressError if webhooks may not use it."""
        if len(url) > MAX_URL:
            raise AddressError(f"An address may have at most {MAX_URL:,} characters.")
        if not url.isascii() or any(ord(char) <= 32 or ord(char) == 127 for char in url) or "\\" in url:
            # International names and paths have an ASCII form, but parsers do not agree how to make it.
            raise AddressError("The address must have only ASCII characters, and no spaces or backslashes.")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise AddressError(f"The address cannot be read: {error}.") from None
        https = parts.scheme == "https"
        if not https and not (self.allow_http and parts.scheme == "http"):
            raise AddressError("The address must begin with https://.")
        if "@" in parts.netloc:
            raise AddressError("The address must not have a user name or password.")
        if parts.fragment or url.endswith("#"):
            raise AddressError("The address must not have a fragment (#).")
        port = (443 if https else 80) if port is None else port
        if not (port == (443 if https else 80) or 1024 <= port <= 65535):
            raise AddressError(f"Port {port} is not allowed; use 443, or 1024 or higher.")
        host, literal = _host(parts.hostname or "", bracketed="[" in parts.netloc)
        if literal is not None:
            self.check(literal)
        elif self._is_local(host):
            raise AddressError(f"{host} is a name in a private network.")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(https=https, host=host, port=port, path=path, literal=literal)

    def resolve(self, target: Target, resolver: Resolver) -> list[str]:
        """Return the addresses to connect to; raise AddressError if any of them is bad, or there is none."""
        if target.literal is not None:
            found: Sequence[str] = [str(target.literal)]
        else:
            try:
                found = resolver(target.host, target.port)
            except (OSError, UnicodeError) as error:
                raise AddressError(f"{target.host} has no address: {error}.") from error
        if not found:
            raise AddressError(f"{target.host} has no address.")
        for text in found:
            self.check(_address(text))
        return list(dict.fromkeys(found))

    def check(self, address: Address) -> None:
        """Raise AddressError if webhooks must not be sent to an address."""
        if any(address in network for network in self.networks):
            return
        if isinstance(address, IPv4Address):
            bad = any(address in network for network in _BAD_IPV4)
        else:
            bad = address not in _GLOBAL_IPV6 or any(address in network for network in _BAD_IPV6)
            bad = bad or address.scope_id is not None
        if bad:
            raise AddressError(f"{address} is not a public address.")

    def _is_local(self, host: str) -> bool:
        local = any(host == name or host.endswith("." + name) for name in _LOCAL_NAMES)
        return local and not self.networks


def system_resolver(host: str, port: int) -> list[str]:
    """Return the addresses of a host by the system's resolver."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _host(host: str, *, bracketed: bool) -> tuple[str, Address | None]:
    """Return a host as a name or, if it is an IP literal, as an address."""
    if bracketed:
        if "%" in host:
            raise AddressError("The address must not have a zone (%).")
        address = _address(host)
        return str(address), address
    host = host.lower().removesuffix(".")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise AddressError("The address has no valid host name.")
    if not _NUMBER.fullmatch(labels[-1]):
        return host, None
    # The resolver reads a name that ends in a number as an IPv4 address: 127.1, 0x7f.1, 017700000001, 2130706433.
    try:
        literal = IPv4Address(host)
    except ValueError:
        raise AddressError("An IPv4 address has four decimal numbers.") from None
    return str(literal), literal


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise AddressError(f"{text} is not a valid address.") from None
