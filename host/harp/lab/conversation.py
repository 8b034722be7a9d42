"""A capture of a small HARP conversation, message by message as the codec builds it.

What a capture on the home link of three home agents would show: heartbeats, a registration that is
replicated, the loss of the active, a takeover — and some octets that do not belong there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path

import dpkt

from harp.tables.harp_types import HarpFlag, HarpType, Status
from harp.tables.ipv6 import ETHERTYPE_IPV6
from harp.tables.mh import HOP_LIMIT, NEXT_HEADER, BuFlag
from harp.wire import messages as msg
from harp.wire.codec import Codec

GROUP = 7
KEY_SPI, KEY = 256, bytes(range(32))
"""Of the authenticated HELLO at the end."""


def _address(text: str) -> bytes:
    return IPv6Address(text).packed


HA_A, HA_B, HA_C = (_address(f"2001:db8:1::{name}") for name in "abc")
VIRTUAL = _address("2001:db8:1::1")
HOME, CARE_OF = _address("2001:db8:1::100"), _address("2001:db8:f::100")


@dataclass(frozen=True, slots=True)
class Sent:
    """One packet of the conversation."""

    at_s: float
    source: bytes
    destination: bytes
    payload: bytes


def conversation(codec: Codec) -> Iterator[Sent]:
    """The packets in order of time."""
    multicast = codec.code_points.multicast_group.packed
    registered = msg.BindingUpdate(
        12,
        BuFlag.ACKNOWLEDGE | BuFlag.HOME_REGISTRATION,
        600,
        (msg.AlternateCareOf(CARE_OF),),
    )
    binding = msg.BindingCache(HOME, CARE_OF, registered.flags, 12, 600)
    position = msg.SyncPosition(3, 70_000)
    log = msg.Harp(HarpType.SS_REP, GROUP, 4_466, flags=HarpFlag.R, options=(position, binding))
    acknowledged = msg.Harp(HarpType.SS_ACK, GROUP, 4_466, options=(position,))
    script: tuple[tuple[float, bytes, bytes, msg.Message], ...] = (
        (0.0, HA_A, multicast, _hello(1, HarpFlag.A | HarpFlag.V | HarpFlag.S, 200)),
        (0.1, HA_B, multicast, _hello(1, HarpFlag.V | HarpFlag.S, 100)),
        (0.2, HA_C, multicast, _hello(1, HarpFlag.V | HarpFlag.S, 50)),
        (0.3, HOME, VIRTUAL, registered),
        (0.301, HA_A, HA_B, log),
        (0.302, HA_B, HA_A, acknowledged),
        (0.303, VIRTUAL, HOME, msg.BindingAcknowledgement(0, 12, 600)),
        (1.0, HA_A, multicast, _hello(2, HarpFlag.A | HarpFlag.V | HarpFlag.S, 200)),
        # HA A is silent from here on: three intervals later HA B takes over.
        (3.1, HA_B, HA_A, _hello(1, HarpFlag.R | HarpFlag.V | HarpFlag.S, 100)),
        (4.0, HA_B, multicast, _hello(5, HarpFlag.A | HarpFlag.V | HarpFlag.S, 100)),
        (5.0, HA_A, HA_B, msg.Harp(HarpType.SO_REQ, GROUP, 300, preference=200)),
        (5.1, HA_B, HA_A, msg.Harp(HarpType.SO_REP, GROUP, 300, Status.NOT_SYNCHRONISED)),
    )
    for at_s, source, destination, message in script:
        yield Sent(at_s, source, destination, codec.build(source, destination, message))
    signed = codec.build_signed(
        HA_C, multicast, _hello(6, HarpFlag.V | HarpFlag.S, 50), KEY_SPI, KEY, 3_900_000_000 << 32
    )
    yield Sent(5.2, HA_C, multicast, signed)
    flipped = bytes((*signed[:9], signed[9] ^ 1, *signed[10:]))
    yield Sent(5.3, HA_C, multicast, flipped)
    yield Sent(5.4, HA_C, multicast, signed[:6])


def _hello(sequence: int, flags: int, preference: int) -> msg.Harp:
    return msg.Harp(
        HarpType.HELLO,
        GROUP,
        sequence,
        flags=flags,
        preference=preference,
        lifetime_s=3,
        interval_ms=1000,
    )


def write_capture(path: Path, codec: Codec) -> int:
    """Writes the conversation as an Ethernet pcap; returns the number of frames."""
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        packets = list(conversation(codec))
        for sent in packets:
            writer.writepkt(_frame(sent), ts=sent.at_s)
    return len(packets)


def _frame(sent: Sent) -> bytes:
    packet = dpkt.ip6.IP6(
        src=sent.source, dst=sent.destination, nxt=NEXT_HEADER, hlim=HOP_LIMIT,
        plen=len(sent.payload), data=sent.payload,
    )  # fmt: skip
    ethernet = dpkt.ethernet.Ethernet(
        src=b"\x02" + sent.source[-5:], dst=b"\x02" + sent.destination[-5:],
        type=ETHERTYPE_IPV6, data=bytes(packet),
    )  # fmt: skip
    return bytes(ethernet)
