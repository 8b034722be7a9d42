"""An address and a port to listen on, as text: `[::1]:9342`, `127.0.0.1:9342`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address


class BadListen(ValueError):
    """Not an address and a port."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen."""

    address: IPv4Address | IPv6Address
    """Of this machine; unspecified: all."""
    port: int
    """TCP, 1 to 65535."""


def parse_listen(text: str) -> Listen | None:
    """None for the empty text: nowhere. Raises `BadListen`."""
    if not text:
        return None
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ip_address(host[1:-1] if bracketed else host)
        number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else 0
    except ValueError:
        raise BadListen("wants an address and a port") from None
    if bracketed != (address.version == 6) or not 1 <= number <= 65535:
        raise BadListen("wants an address and a port, an IPv6 address in brackets")
    return Listen(address, number)
