"""Captures for tshark: IPv6 packets as they are, without a link layer (LINKTYPE_RAW)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import IPv6Address
from pathlib import Path

from harp.tables.mh import HOP_LIMIT, NEXT_HEADER

_LINKTYPE_RAW = 101


def packet(
    source: str,
    destination: str,
    payload: bytes,
    chain: tuple[tuple[int, bytes], ...] = (),
    last: int = NEXT_HEADER,
) -> bytes:
    """An IPv6 packet; `chain`: extension headers as (number, octets behind Next Header), then
    the header `last` that begins `payload`."""
    headers = [number for number, _ in chain] + [last]
    body = b"".join(
        bytes((after,)) + rest for after, (_, rest) in zip(headers[1:], chain, strict=True)
    )
    body += payload
    addresses = IPv6Address(source).packed + IPv6Address(destination).packed
    return struct.pack("!IHBB", 6 << 28, len(body), headers[0], HOP_LIMIT) + addresses + body


def write(path: Path, packets: Iterable[bytes], snap: int = 65535) -> None:
    """A pcap file, one packet a second, each cut to `snap` octets."""
    with path.open("wb") as file:
        file.write(struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, _LINKTYPE_RAW))
        for second, octets in enumerate(packets):
            kept = octets[:snap]
            file.write(struct.pack("=IIII", second, 0, len(kept), len(octets)) + kept)
