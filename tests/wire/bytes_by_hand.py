"""Messages made octet by octet from `harp.md` §2 and the RFCs, without any code of `harp.wire`.

Ref: harp.md §2 (layouts, padding, checksum); RFC 6275 §6.1 (Mobility Header), §6.2 (options);
RFC 5142 §5.1; RFC 5847 §3.3. Every number is typed in from there: a wrong constant in
`harp.tables` must not be able to hide here.
"""

import hashlib
import hmac
import struct
from collections.abc import Iterable

Option = tuple[int, bytes]
"""Type and data of one mobility option."""

A = bytes.fromhex("20010db800010000000000000000000a")
B = bytes.fromhex("20010db800010000000000000000000b")
"""Addresses of two home agents: source and destination of most messages in these tests."""
HOME = bytes.fromhex("20010db8000100000000000000000100")
CARE_OF = bytes.fromhex("20010db8000f00000000000000000100")

MH_PROTOCOL = 135
NO_NEXT_HEADER = 59

# MH types: RFC 6275 §6.1.2-9, RFC 5142, RFC 5847; 11 is "Experimental" (RFC 5096).
REFRESH_REQUEST, HOTI, COTI, HOT, COT, UPDATE, ACK, ERROR = range(8)
HARP, SWITCH, HEARTBEAT = 11, 12, 13

# HARP Types, harp.md §2.1.
HELLO, SS_REQ, SS_REP, SS_ACK, SO_REQ, SO_REP, SB_REQ, SB_REP, SW_COMP, HA_REKEY = range(10)

HA_HA = 241
"""Subtype of the authentication option, harp.md §2.3."""

ALIGNMENT = {
    2: (2, 0),
    3: (8, 6),
    4: (2, 0),
    5: (8, 2),  # RFC 6275 §6.2.4-7
    28: (4, 2),
    242: (4, 2),
    244: (4, 2),
    245: (4, 2),
    246: (4, 2),
    6: (8, 4),
    34: (8, 4),
    19: (2, 0),
    243: (2, 0),
    241: (8, 6),
    10: (8, 2),
}
"""Type → (modulus, residue) of the Type octet, from the first octet of the MH; harp.md §2."""


def alignment(option: Option) -> tuple[int, int]:
    """Modulus and residue that one option wants; options without an alignment have (1, 0)."""
    kind, data = option
    if kind == 35:  # RFC 5648 §4.1: with a care-of address it stands at 8n+2
        return (2, 0) if len(data) == 4 else (8, 2)
    if kind == 9:  # RFC 4285 §5: 4n+1; harp.md §2: HA-HA 8n+1
        return (8, 1) if data[:1] == bytes([HA_HA]) else (4, 1)
    return ALIGNMENT.get(kind, (1, 0))


def padding(octets: int) -> bytes:
    """Nothing, one Pad1, or one PadN of zeros (harp.md §2)."""
    if octets < 2:
        return bytes(octets)
    return bytes([1, octets - 2]) + bytes(octets - 2)


def raw(kind: int, data: bytes, length: int | None = None) -> bytes:
    """One option; `length` overrides what its Length octet claims."""
    return bytes([kind, len(data) if length is None else length]) + data


def laid_out(head: bytes, options: Iterable[Option]) -> bytes:
    """The options behind `head`, each at its alignment, padded to a multiple of 8 at the end."""
    out = head
    for option in options:
        modulus, residue = alignment(option)
        gap = 0
        while (len(out) + gap) % modulus != residue:
            gap += 1
        out += padding(gap) + raw(*option)
    gap = 0
    while (len(out) + gap) % 8:
        gap += 1
    return out + padding(gap)


def ones_complement_sum(octets: bytes) -> int:
    """16-bit one's complement sum of an even number of octets, carries added back (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def pseudo_header(src: bytes, dst: bytes, length: int, protocol: int) -> bytes:
    """RFC 8200 §8.1."""
    return src + dst + struct.pack("!I", length) + bytes(3) + bytes([protocol])


def checksum(src: bytes, dst: bytes, mh: bytes, protocol: int = MH_PROTOCOL) -> int:
    """Checksum of an MH whose checksum field is 0; covers `mh` whole."""
    return 0xFFFF - ones_complement_sum(pseudo_header(src, dst, len(mh), protocol) + mh)


def seal(src: bytes, dst: bytes, payload: bytes) -> bytes:
    """`payload` with the right checksum over the octets that its Header Len covers.

    One that is shorter than its Header Len says is summed as far as it goes (even octets).
    """
    if len(payload) < 6:
        return payload
    covered = min((payload[1] + 1) * 8, len(payload) & ~1)
    blank = payload[:4] + b"\0\0" + payload[6:]
    value = checksum(src, dst, blank[:covered])
    return blank[:4] + struct.pack("!H", value) + blank[6:]


def message(
    src: bytes,
    dst: bytes,
    mh_type: int,
    body: bytes,
    options: Iterable[Option] = (),
    proto: int = NO_NEXT_HEADER,
) -> bytes:
    """A whole MH: `body` is what follows the Checksum up to the options."""
    mh = laid_out(bytes([proto, 0, mh_type, 0, 0, 0]) + body, options)
    return seal(src, dst, mh[:1] + bytes([len(mh) // 8 - 1]) + mh[2:])


def loose(
    src: bytes, dst: bytes, mh_type: int, body: bytes, tail: bytes, proto: int = NO_NEXT_HEADER
) -> bytes:
    """A whole MH whose option octets `tail` stand as given; Pad1s fill the last 8 octets."""
    mh = bytes([proto, 0, mh_type, 0, 0, 0]) + body + tail
    mh += bytes(-len(mh) % 8)
    return seal(src, dst, mh[:1] + bytes([len(mh) // 8 - 1]) + mh[2:])


def harp_body(
    kind: int,
    group: int = 7,
    seq: int = 1,
    status: int = 0,
    flags: int = 0,
    preference: int = 0,
    lifetime: int = 0,
    interval: int = 0,
    index: int = 0,
) -> bytes:
    """Octets 6 to 19 of a HARP message, harp.md §2.1."""
    return struct.pack(
        "!BBHBBHHHH", kind, group, seq, status, flags, preference, lifetime, interval, index
    )


def update_body(seq: int, flags: int, lifetime: int) -> bytes:
    """RFC 6275 §6.1.7; lifetime in units of 4 s."""
    return struct.pack("!HHH", seq, flags, lifetime)


def ack_body(status: int, flags: int, seq: int, lifetime: int) -> bytes:
    """RFC 6275 §6.1.8."""
    return struct.pack("!BBHH", status, flags, seq, lifetime)


def error_body(status: int, home_address: bytes) -> bytes:
    """RFC 6275 §6.1.9."""
    return bytes([status, 0]) + home_address


def switch_body(addresses: list[bytes]) -> bytes:
    """RFC 5142 §5.1."""
    return bytes([len(addresses), 0]) + b"".join(addresses)


def heartbeat_body(seq: int, response: bool = False, unsolicited: bool = False) -> bytes:
    """RFC 5847 §3.3: 14 reserved bits, U, R, 32-bit sequence."""
    return struct.pack("!HI", 2 * unsolicited + response, seq)


def ip_address(code: int, address: bytes, prefix_length: int = 128) -> Option:
    """harp.md §2.3: 241 home, 242 home agent, 243 care-of address."""
    return 34, bytes([code, prefix_length]) + address


def network_prefix(prefix: bytes, length: int) -> Option:
    """RFC 3963 §4.3."""
    return 6, bytes([0, length]) + prefix


def alternate_care_of(address: bytes) -> Option:
    """RFC 6275 §6.2.5."""
    return 3, address


def refresh_advice(units: int) -> Option:
    """RFC 6275 §6.2.4; units of 4 s."""
    return 2, struct.pack("!H", units)


def bid(number: int, status: int = 0, flags: int = 0) -> Option:
    """RFC 5648 §4.1, without a care-of address."""
    return 35, struct.pack("!HBB", number, status, flags)


def vendor(identity: int, subtype: int, data: bytes) -> Option:
    """RFC 5094 §2."""
    return 19, struct.pack("!IB", identity, subtype) + data


def restart_counter(value: int) -> Option:
    """RFC 5847 §3.4."""
    return 28, struct.pack("!I", value)


def binding(
    home: bytes, care_of: bytes, flags: int, seq: int, lifetime: int, reserved: int = 0
) -> Option:
    """harp.md §2.2; lifetime in units of 4 s."""
    return 241, home + care_of + struct.pack("!HHHH", flags, seq, lifetime, reserved)


def detection(interval_us: int, multiplier: int) -> Option:
    """harp.md §2.3."""
    return 242, struct.pack("!IBB", interval_us, multiplier, 0)


def aaa(avps: bytes) -> Option:
    """harp.md §2.3."""
    return 243, avps


def cache_digest(count: int, digest: int) -> Option:
    """harp.md §2.3."""
    return 244, struct.pack("!IQ", count, digest)


def sync_position(term: int, position: int) -> Option:
    """harp.md §2.3."""
    return 245, struct.pack("!II", term, position)


def configuration(digest: bytes) -> Option:
    """harp.md §2.3."""
    return 246, digest


def timestamp(ntp: int) -> Option:
    """RFC 4285 §6: 64 bits, NTP format."""
    return 10, struct.pack("!Q", ntp)


def signed(
    src: bytes,
    dst: bytes,
    body: bytes,
    options: Iterable[Option],
    spi: int,
    key: bytes,
    mh_type: int = HARP,
) -> bytes:
    """A HARP message with the HA-HA option at its end, MAC right, harp.md §2.3."""
    blank = message(
        src, dst, mh_type, body, [*options, (9, struct.pack("!BI", HA_HA, spi) + bytes(16))]
    )
    covered = blank[:4] + b"\0\0" + blank[6:-16]
    mac = hmac.new(key, src + dst + covered, hashlib.sha256).digest()[:16]
    return seal(src, dst, blank[:-16] + mac)


def icmpv6(src: bytes, dst: bytes, kind: int, body: bytes, code: int = 0) -> bytes:
    """An ICMPv6 message with its checksum (RFC 4443 §2.3)."""
    blank = bytes([kind, code, 0, 0]) + body
    value = checksum(src, dst, blank, protocol=58)
    return blank[:2] + struct.pack("!H", value) + blank[4:]
