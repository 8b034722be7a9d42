"""Captures: the Mobility Headers in a pcap or pcapng file.

Ref: IEEE 802.3 and 802.1Q (Ethernet, VLAN tags); link types as LINKTYPE_* of libpcap
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dpkt

from harp.tables.ipv6 import ETHERTYPE_IPV6, ETHERTYPE_VLAN
from harp.wire.messages import Malformed
from harp.wire.packet import MobilityPacket, find_mobility_header

_ETHERNET, _LINUX_SLL, _LINUX_SLL2 = 1, 113, 276
_RAW_IP = (12, 14, 101, 229)
_PCAPNG_FIRST = b"\n"
"""First octet of a pcapng file: of its Section Header Block; no pcap magic begins so."""
_MAX_BLOCK_OCTETS = 1 << 24
"""More than any real packet or block: a length above it is a broken file's."""
_STUMP = "ends in the middle of a packet"
STANDARD_INPUT = Path("-")


class BadCapture(Exception):
    """The file is no capture, ends in mid-packet, or is of a link type that is not read."""


@dataclass(frozen=True, slots=True)
class Captured:
    """One Mobility Header in a capture."""

    frame: int
    """Number of the frame, from 1."""
    time_s: float
    """UNIX time of its capture."""
    found: MobilityPacket | Malformed


class _WholeReads:
    """A file in which a read that ends early is an error: dpkt would hand out the stump."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.ended = False
        """The last read found less than it wanted."""

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_BLOCK_OCTETS:
            raise BadCapture(f"says that a packet or block has {size} octets")
        data = self._read(size)
        self.ended = len(data) < size
        if data and self.ended:
            raise BadCapture(_STUMP)
        return data


def read_capture(path: Path) -> Iterator[Captured]:
    """Mobility Headers of a capture in order; frames without one are passed over. `-` is standard
    input, read as it comes: a running `tcpdump -U -w -` will do.

    Raises BadCapture, OSError.
    """
    raw = io.FileIO(0, closefd=False) if path == STANDARD_INPUT else io.FileIO(str(path))
    with io.BufferedReader(raw) as file:
        kind = dpkt.pcapng if file.peek(1)[:1] == _PCAPNG_FIRST else dpkt.pcap
        whole = _WholeReads(file.read)
        try:
            reader = kind.Reader(whole)
            link = reader.datalink()
            if link not in _LINKS:
                raise BadCapture(
                    f"link type {link} is not read; Ethernet, Linux cooked, raw IP are"
                )
            for number, (time_s, octets) in enumerate(reader, 1):
                if whole.ended:
                    raise BadCapture(_STUMP)
                packet = _LINKS[link](octets)
                found = find_mobility_header(packet) if packet else None
                if found:
                    yield Captured(number, float(time_s), found)
        except (ValueError, struct.error, dpkt.UnpackError) as error:
            raise BadCapture(f"not a pcap or pcapng capture ({error})") from None


def _ethernet(frame: bytes) -> bytes | None:
    at = 12
    while int.from_bytes(frame[at : at + 2], "big") in ETHERTYPE_VLAN:
        at += 4
    return _ipv6(frame, at, at + 2)


def _linux_sll(frame: bytes) -> bytes | None:
    return _ipv6(frame, 14, 16)


def _linux_sll2(frame: bytes) -> bytes | None:
    return _ipv6(frame, 0, 20)


def _raw(frame: bytes) -> bytes | None:
    return frame


def _ipv6(frame: bytes, ethertype_at: int, packet_at: int) -> bytes | None:
    if int.from_bytes(frame[ethertype_at : ethertype_at + 2], "big") != ETHERTYPE_IPV6:
        return None
    return frame[packet_at:]


_LINKS = {
    _ETHERNET: _ethernet,
    _LINUX_SLL: _linux_sll,
    _LINUX_SLL2: _linux_sll2,
    **dict.fromkeys(_RAW_IP, _raw),
}
