"""Dynamic Home Agent Address Discovery: the ICMPv6 messages that find a home agent.

Ref: RFC 6275 §6.5 (request), §6.6 (reply); RFC 3963 §4.4, §4.5 (R flag); RFC 4443 §2.3 (checksum)
"""

from __future__ import annotations

from harp.tables.icmpv6 import DHAAD_REPLY, DHAAD_REQUEST, NEXT_HEADER
from harp.tables.reasons import Reason
from harp.wire import messages as msg
from harp.wire.checksum import checksum, verifies
from harp.wire.fixed import Fixed

_REQUEST = Fixed("HH", ("identifier", "flags"))
_HEAD_OCTETS = 8
"""Type, Code, Checksum, Identifier, R flag and Reserved."""


def parse_icmpv6(
    source: bytes, destination: bytes, payload: bytes
) -> msg.DhaadRequest | msg.DhaadReply | msg.Malformed | None:
    """The discovery message in an ICMPv6 payload; None: another ICMPv6 type. Never raises."""
    if len(payload) < _HEAD_OCTETS:
        return msg.Malformed(Reason.TRUNCATED, f"{len(payload)} octets of ICMPv6")
    if payload[0] not in (DHAAD_REQUEST, DHAAD_REPLY):
        return None
    if not verifies(source, destination, payload, NEXT_HEADER):
        return msg.Malformed(Reason.BAD_CHECKSUM, "the ICMPv6 checksum is wrong")
    fixed = _REQUEST.unpack(payload, 4)
    if payload[0] == DHAAD_REQUEST:
        return msg.DhaadRequest(*fixed)
    if (len(payload) - _HEAD_OCTETS) % 16:
        return msg.Malformed(Reason.BAD_LENGTH, "home agent addresses of 16 octets end in part")
    identifier, flags = fixed
    addresses = tuple(payload[at : at + 16] for at in range(_HEAD_OCTETS, len(payload), 16))
    return msg.DhaadReply(identifier, addresses, flags)


def build_icmpv6(
    source: bytes, destination: bytes, message: msg.DhaadRequest | msg.DhaadReply
) -> bytes:
    """The ICMPv6 payload of `message`; ValueError names a field that does not fit."""
    kind = DHAAD_REQUEST if isinstance(message, msg.DhaadRequest) else DHAAD_REPLY
    data = bytearray((kind, 0, 0, 0)) + _REQUEST.pack(message)
    if isinstance(message, msg.DhaadReply):
        if any(len(address) != 16 for address in message.addresses):
            raise ValueError("DhaadReply.addresses: each must be 16 octets")
        data += b"".join(message.addresses)
    data[2:4] = checksum(source, destination, data, NEXT_HEADER).to_bytes(2, "big")
    return bytes(data)
