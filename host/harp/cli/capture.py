"""Captures: the Mobility Headers in a pcap or pcapng file.

Ref: IEEE 802.3 and 802.1Q (Ethernet, VLAN tags); link types as LINKTYPE_* of libpcap
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dpkt

from harp.tables.ipv6 import ETHERTYPE_IPV6, ETHERTYPE_VLAN
from harp.wire.messages import Malformed
from harp.wire.packet import MobilityPacket, find_mobility_header

_ETHERNET, _LINUX_SLL, _LINUX_SLL2 = 1, 113, 276
_RAW_IP = (12, 14, 101, 229)


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


class _WholeReads(io.FileIO):
    """A file in which a read that ends early is an error: dpkt would hand out the stump."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if data and size is not None and len(data) < size:
            raise BadCapture("ends in the middle of a packet")
        return data


def read_capture(path: Path) -> Iterator[Captured]:
    """Mobility Headers of a capture in order; frames without one are passed over.

    Raises BadCapture, OSError.
    """
    with _WholeReads(str(path)) as file:
        try:
            reader = dpkt.pcap.UniversalReader(file)
            link = reader.datalink()
            if link not in _LINKS:
                raise BadCapture(
                    f"link type {link} is not read; Ethernet, Linux cooked, raw IP are"
                )
            for number, (time_s, octets) in enumerate(reader, 1):
                packet = _LINKS[link](octets)
                found = find_mobility_header(packet) if packet else None
                if found:
                    yield Captured(number, float(time_s), found)
        except (ValueError, dpkt.UnpackError) as error:
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
