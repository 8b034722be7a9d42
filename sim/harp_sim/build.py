"""Frames from parts, octet by octet: what the stimuli and the tests are built with.

A `Draft` is right unless told otherwise: lengths, checksum, padding and FCS are filled in last, and
each can be overridden by a fault. The checksum is added up word by word, not as the model does it.

Ref: RFC 8200 §3, §4 and §8.1; RFC 6275 §6.1.1; harp.md §2.1; offload.md §1
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from harp_sim.model import golden

MAC_HOST = bytes.fromhex("020000000001")
MAC_NETWORK = bytes.fromhex("020000000002")


@dataclass(frozen=True, slots=True)
class Extension:
    """One extension header; octet 0 is overwritten with the next header."""

    kind: int
    octets: bytes


def options_header(options: bytes, kind: int = golden.NEXT_DESTINATION) -> Extension:
    """An options header around options that fill it (2 octets short of a multiple of 8)."""
    return Extension(kind, bytes((0, (len(options) + 2) // 8 - 1)) + options)


def padding_header(octets: int, kind: int = golden.NEXT_DESTINATION) -> Extension:
    """An options header of 8 to 256 octets that holds one PadN."""
    return options_header(pad_n(octets - 2), kind)


def home_address(address: bytes) -> Extension:
    """The one recognised layout: PadN(2), Home Address at octet 6 (offload.md §2)."""
    return options_header(pad_n(4) + bytes((golden.OPTION_HOME_ADDRESS, 16)) + address)


def routing(kind: int, segments: int, *addresses: bytes) -> Extension:
    """A Routing header with addresses behind 4 reserved octets."""
    head = bytes((0, 2 * len(addresses), kind, segments, 0, 0, 0, 0))
    return Extension(golden.NEXT_ROUTING, head + b"".join(addresses))


def fragment(offset: int, more: bool, identification: int = 1) -> Extension:
    """A Fragment header; `offset` in units of 8 octets."""
    word = offset << 3 | more
    return Extension(golden.NEXT_FRAGMENT, struct.pack("!BBHI", 0, 0, word, identification))


def authentication(length: int, octets: int | None = None) -> Extension:
    """An AH with this length field, 4 x (length + 2) octets unless told otherwise."""
    size = 4 * (length + 2) if octets is None else octets
    return Extension(golden.NEXT_AH, bytes((0, length)) + bytes(size - 2))


def mobility(mh_type: int, body: bytes, proto: int = golden.PAYLOAD_PROTO_NONE) -> bytes:
    """An MH with this message data, zeros up to a multiple of 8, checksum 0."""
    size = max(8, (6 + len(body) + 7) // 8 * 8)
    return (bytes((proto, size // 8 - 1, mh_type, 0, 0, 0)) + body).ljust(size, b"\0")


def harp(
    harp_type: int,
    group: int,
    sequence: int,
    flags: int = 0,
    preference: int = 100,
    lifetime: int = 3,
    interval_ms: int = 1000,
    options: bytes = b"",
) -> bytes:
    """A HARP message with its options (harp.md §2.1); PadN(2) if there are none."""
    fixed = struct.pack(
        "!BBHBBHHHH", harp_type, group, sequence, 0, flags, preference, lifetime, interval_ms, 0
    )
    return mobility(golden.MH_TYPE_HARP, fixed + (options or pad_n(4)))


def authenticated(stamp: bytes, tag: bytes, options: bytes = b"", spi: int = 256) -> bytes:
    """HELLO options with timestamp (8 octets) and HA-HA authentication (tag: 16) behind them.

    Padded as harp.md §2 has it; `options` are a multiple of 8 octets.
    """
    timestamp = bytes((golden.OPTION_TIMESTAMP, golden.OPTION_TIMESTAMP_OCTETS)) + stamp
    head = bytes((golden.OPTION_AUTHENTICATION, golden.OPTION_AUTHENTICATION_OCTETS))
    signature = head + bytes((golden.AUTHENTICATION_HA_HA,)) + spi.to_bytes(4, "big") + tag
    return options + pad_n(6) + timestamp + pad_n(5) + signature


def pad_n(octets: int) -> bytes:
    """One PadN of 2 to 257 octets in all."""
    return bytes((golden.OPTION_PADN, octets - 2)) + bytes(octets - 2)


def checksum(source: bytes, destination: bytes, mh: bytes) -> int:
    """Checksum over pseudo-header and MH with its own field taken as 0 (RFC 8200 §8.1)."""
    zeroed = mh[:4] + b"\0\0" + mh[6:]
    octets = source + destination + struct.pack("!II", len(mh), golden.NEXT_MOBILITY) + zeroed
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True, slots=True)
class Draft:
    """Everything that a frame is made of; `dataclasses.replace` plants faults."""

    source: bytes
    destination: bytes
    payload: bytes = b""
    """What stands behind the chain; an MH's checksum is filled in."""
    last: int = golden.NEXT_MOBILITY
    """Next header that announces `payload`."""
    chain: tuple[Extension, ...] = ()
    tags: tuple[int, ...] = ()
    """VLAN IDs, outermost first."""
    ethertype: int = golden.ETHERTYPE_IPV6
    version: int = golden.IPV6_VERSION
    hop_limit: int = golden.HOP_LIMIT
    length_error: int = 0
    """Added to the Payload Length."""
    sum_source: bytes | None = None
    """Source in the checksum; None: `source`."""
    sum_destination: bytes | None = None
    sum_error: int = 0
    """Flipped bits of the checksum."""
    size: int = golden.MIN_FRAME_OCTETS
    """Octets of the frame at least, FCS included; zeros fill it."""
    cut: int | None = None
    """Octets that are left of the frame; None: all."""
    fcs_ok: bool = True
    rx_er: bool = False

    def filled(self) -> bytes:
        """The payload with its checksum."""
        mh = self.payload
        if self.last != golden.NEXT_MOBILITY or len(mh) < 6:
            return mh
        covered = mh[: 8 * (mh[1] + 1)]
        if len(covered) % 2:
            return mh
        source = self.sum_source or self.source
        value = checksum(source, self.sum_destination or self.destination, covered) ^ self.sum_error
        return mh[:4] + value.to_bytes(2, "big") + mh[6:]

    def packet(self) -> bytes:
        """The IPv6 packet."""
        kinds = [header.kind for header in self.chain] + [self.last]
        body = b"".join(
            bytes((following,)) + header.octets[1:]
            for header, following in zip(self.chain, kinds[1:], strict=True)
        )
        body += self.filled()
        length = len(body) + self.length_error
        fixed = struct.pack("!IHBB", self.version << 28, length & 0xFFFF, kinds[0], self.hop_limit)
        return fixed + self.source + self.destination + body

    def octets(self) -> bytes:
        """The frame with its FCS, a wrong one if `fcs_ok` is False."""
        frame = bytearray(MAC_HOST + MAC_NETWORK)
        for depth, vlan in enumerate(self.tags, start=1):
            outer = depth < len(self.tags)
            frame += struct.pack("!HH", _TPIDS[outer], vlan)
        frame += self.ethertype.to_bytes(2, "big") + self.packet()
        frame += bytes(max(0, self.size - golden.FCS_OCTETS - len(frame)))
        if self.cut is not None:
            del frame[max(0, self.cut - golden.FCS_OCTETS) :]
        return with_fcs(bytes(frame), self.fcs_ok)


_TPIDS = {True: golden.ETHERTYPE_STAG, False: golden.ETHERTYPE_CTAG}


def with_fcs(frame: bytes, right: bool = True) -> bytes:
    """The frame with its FCS behind it, least significant octet first (IEEE 802.3 §3.2.9)."""
    fcs = zlib.crc32(frame) ^ (0 if right else 1)
    return frame + fcs.to_bytes(4, "little")
