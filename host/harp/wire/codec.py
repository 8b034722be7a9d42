"""Mobility Headers: octets to messages and back.

Ref: RFC 6275 §6.1 (Mobility Header), §9.2 (checks on receipt); RFC 5142 §4.1; RFC 5847 §3.3;
     harp.md §2 (wire format), §3 rules 1 to 7 (order of the checks)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeAlias, assert_never

from harp.tables import options as option_table
from harp.tables.codepoints import DEFAULT_CODE_POINTS, CodePoints
from harp.tables.harp_types import FIXED_OCTETS, HarpType
from harp.tables.layouts import HARP_FIELDS
from harp.tables.mh import HARP_MH, MAX_MH_OCTETS, NO_NEXT_HEADER, RFC_MH_TYPES, MhType
from harp.tables.reasons import Reason
from harp.wire import messages as msg
from harp.wire.auth import ha_ha_tag
from harp.wire.checksum import checksum, verifies
from harp.wire.fault import Fault
from harp.wire.fixed import Fixed
from harp.wire.maker import maker
from harp.wire.mandatory import check_options
from harp.wire.options import OptionCodec, padding

_HARP = Fixed(
    "".join(field.item for field in HARP_FIELDS), tuple(field.name for field in HARP_FIELDS)
)
_UPDATE = Fixed("HHH", ("sequence", "flags", "lifetime_s"), "lifetime_s")
_ACKNOWLEDGEMENT = Fixed("BBHH", ("status", "flags", "sequence", "lifetime_s"), "lifetime_s")
_ERROR = Fixed("Bx16s", ("status", "home_address"))
_HEARTBEAT = Fixed("HI", ("flags", "sequence"))
_HARP_TYPES = {int(row): row for row in HarpType}
_DATA = 6
"""Octet at which the message data begins: behind the checksum."""
_CHECKSUM = slice(4, 6)
_make_harp = maker(msg.Harp)
_make_update = maker(msg.BindingUpdate)
_NO_OPTIONS = padding(-FIXED_OCTETS % 8)
"""What stands behind the fixed part of a HARP message without options."""

Parser: TypeAlias = Callable[[bytes], msg.Message]


class Codec:
    """Parses and builds Mobility Headers under one set of code points."""

    def __init__(self, code_points: CodePoints = DEFAULT_CODE_POINTS) -> None:
        self.code_points = code_points
        self.options = OptionCodec(code_points)
        parsers: dict[int, Parser] = {
            MhType.BINDING_REFRESH_REQUEST: self._parse_refresh_request,
            MhType.BINDING_UPDATE: self._parse_update,
            MhType.BINDING_ACKNOWLEDGEMENT: self._parse_acknowledgement,
            MhType.BINDING_ERROR: self._parse_error,
            MhType.HOME_AGENT_SWITCH: self._parse_switch,
            MhType.HEARTBEAT: self._parse_heartbeat,
        }
        self._types: dict[int, tuple[int, Parser]] = {
            row.type: (row.min_header_len, parsers.get(row.type, partial(_parse_other, row.type)))
            for row in RFC_MH_TYPES
        }
        self._types[code_points.mh_type_harp] = (HARP_MH.min_header_len, self._parse_harp)

    def parse(
        self, source: bytes, destination: bytes, payload: bytes
    ) -> msg.Message | msg.Malformed:
        """The message in `payload`: the IPv6 payload from the MH's first octet on. Octets behind
        the MH are ignored. Never raises.

        `source` and `destination` are those of the pseudo-header: the home address where a Home
        Address option or type 2 routing header carries one (RFC 6275 §6.1.1). The first check of
        harp.md §3 rules 1 to 7 that fails gives the reason.
        """
        try:
            mh, parser = self.admit(source, destination, payload)
            return parser(mh)
        except Fault as fault:
            return msg.Malformed(fault.reason, fault.detail)

    def admit(self, source: bytes, destination: bytes, payload: bytes) -> tuple[bytes, Parser]:
        """harp.md §3 rules 1 to 6: the MH alone, and the parser of its type. Raises Fault."""
        size = len(payload)
        if size < 8:
            raise Fault(Reason.TRUNCATED, f"{size} octets, a Mobility Header has at least 8")
        length = 8 * (payload[1] + 1)
        if length > size:
            raise Fault(Reason.BAD_LENGTH, f"Header Len says {length} octets, there are {size}")
        mh = payload if length == size else payload[:length]
        if not verifies(source, destination, mh):
            raise Fault(Reason.BAD_CHECKSUM, "the MH checksum is wrong")
        row = self._types.get(mh[2])
        if row is None:
            raise Fault(Reason.UNKNOWN_TYPE, f"MH Type {mh[2]}")
        if mh[0] != NO_NEXT_HEADER:
            raise Fault(Reason.BAD_PAYLOAD_PROTO, f"Payload Proto {mh[0]}, not {NO_NEXT_HEADER}")
        min_header_len, parser = row
        if mh[1] < min_header_len:
            raise Fault(
                Reason.BAD_LENGTH, f"Header Len {mh[1]}, MH Type {mh[2]} needs {min_header_len}"
            )
        return mh, parser

    def _parse_harp(self, mh: bytes) -> msg.Harp:
        head = parse_harp_head(mh)
        # A HELLO without options is the commonest message of all.
        bare = mh[FIXED_OCTETS:] == _NO_OPTIONS
        options = () if bare else self.options.parse(mh, FIXED_OCTETS)
        message = _make_harp(*head, options)
        check_options(message)
        return message

    def _parse_refresh_request(self, mh: bytes) -> msg.BindingRefreshRequest:
        return msg.BindingRefreshRequest(self.options.parse(mh, 8))

    def _parse_update(self, mh: bytes) -> msg.BindingUpdate:
        sequence, flags, lifetime_s = _UPDATE.unpack(mh, _DATA)
        return _make_update(sequence, flags, lifetime_s, self.options.parse(mh, 12))

    def _parse_acknowledgement(self, mh: bytes) -> msg.BindingAcknowledgement:
        status, flags, sequence, lifetime_s = _ACKNOWLEDGEMENT.unpack(mh, _DATA)
        options = self.options.parse(mh, 12)
        return msg.BindingAcknowledgement(status, sequence, lifetime_s, flags, options)

    def _parse_error(self, mh: bytes) -> msg.BindingError:
        status, home_address = _ERROR.unpack(mh, _DATA)
        return msg.BindingError(status, home_address, self.options.parse(mh, 24))

    def _parse_switch(self, mh: bytes) -> msg.HomeAgentSwitch:
        end = 8 + 16 * mh[_DATA]
        if end > len(mh):
            raise Fault(Reason.BAD_LENGTH, f"{mh[_DATA]} addresses do not fit {len(mh)} octets")
        addresses = tuple(mh[at : at + 16] for at in range(8, end, 16))
        return msg.HomeAgentSwitch(addresses, self.options.parse(mh, end))

    def _parse_heartbeat(self, mh: bytes) -> msg.Heartbeat:
        flags, sequence = _HEARTBEAT.unpack(mh, _DATA)
        return msg.Heartbeat(sequence, flags, self.options.parse(mh, 12))

    def build(self, source: bytes, destination: bytes, message: msg.Message) -> bytes:
        """The Mobility Header of `message`, checksum filled in; ValueError names a field that
        does not fit."""
        return self.finish(source, destination, self.begin(message))

    def build_signed(
        self,
        source: bytes,
        destination: bytes,
        message: msg.Harp,
        spi: int,
        key: bytes,
        timestamp: int,
    ) -> bytes:
        """`build`, with Replay Protection and HA-HA authentication appended (harp.md §2.3).

        `timestamp`: NTP, 64 bits. ValueError on an SPI below 256 or a key below 16 octets.
        """
        return self.sign(source, destination, self.begin(message), spi, key, timestamp)

    def sign(
        self, source: bytes, destination: bytes, mh: bytearray, spi: int, key: bytes, timestamp: int
    ) -> bytes:
        """Ends an MH under construction with Replay Protection and HA-HA authentication."""
        if spi < option_table.MIN_SPI:
            raise ValueError(f"SPI {spi}: must be at least {option_table.MIN_SPI}")
        if len(key) < option_table.MIN_KEY_OCTETS:
            raise ValueError(f"key of {len(key)} octets: at least {option_table.MIN_KEY_OCTETS}")
        untagged = msg.Authentication(
            self.code_points.auth_subtype, spi, bytes(option_table.HA_HA_TAG_OCTETS)
        )
        self.options.append(mh, (msg.ReplayProtection(timestamp), untagged))
        _set_header_len(mh)
        tag = ha_ha_tag(source, destination, mh, key)
        mh[-len(tag) :] = tag
        return self.finish(source, destination, mh)

    def begin(self, message: msg.Message) -> bytearray:
        """An MH under construction: all of `message`, without padding at the end, Header Len and
        checksum. ValueError names a field that does not fit."""
        mh_type, data, options = self._parts(message)
        mh = bytearray((NO_NEXT_HEADER, 0, mh_type, 0, 0, 0))
        mh += data
        self.options.append(mh, options)
        return mh

    def finish(self, source: bytes, destination: bytes, mh: bytearray) -> bytes:
        """Pads an MH under construction, fills in Header Len and checksum."""
        mh += padding(-len(mh) % 8)
        _set_header_len(mh)
        mh[_CHECKSUM] = bytes(2)
        mh[_CHECKSUM] = checksum(source, destination, mh).to_bytes(2, "big")
        return bytes(mh)

    def _parts(self, message: msg.Message) -> tuple[int, bytes, msg.Options]:
        """MH Type, fixed data and options of a message."""
        match message:
            case msg.Harp():
                return self.code_points.mh_type_harp, _HARP.pack(message), message.options
            case msg.BindingUpdate():
                return MhType.BINDING_UPDATE, _UPDATE.pack(message), message.options
            case msg.BindingAcknowledgement():
                data = _ACKNOWLEDGEMENT.pack(message)
                return MhType.BINDING_ACKNOWLEDGEMENT, data, message.options
            case msg.BindingError():
                return MhType.BINDING_ERROR, _ERROR.pack(message), message.options
            case msg.BindingRefreshRequest():
                return MhType.BINDING_REFRESH_REQUEST, bytes(2), message.options
            case msg.HomeAgentSwitch():
                return MhType.HOME_AGENT_SWITCH, _switch_data(message), message.options
            case msg.Heartbeat():
                return MhType.HEARTBEAT, _HEARTBEAT.pack(message), message.options
            case msg.OtherMobility():
                return message.mh_type, message.data, ()
        assert_never(message)


def parse_harp_head(mh: bytes) -> tuple[Any, ...]:
    """The fixed part of a HARP message: the fields of `Harp` in order, but the options. Raises
    Fault.

    harp.md §3 rule 7: Type, then Sequence #; the options come after.
    """
    kind, group, sequence, *others = _HARP.unpack(mh, _DATA)
    harp_type = _HARP_TYPES.get(kind)
    if harp_type is None:
        raise Fault(Reason.UNKNOWN_HARP_TYPE, f"HARP Type {kind}")
    if not sequence:
        raise Fault(Reason.BAD_SEQUENCE, "Sequence # is 0")
    return harp_type, group, sequence, *others


def _parse_other(mh_type: int, mh: bytes) -> msg.OtherMobility:
    return msg.OtherMobility(mh_type, mh[_DATA:])


def _switch_data(message: msg.HomeAgentSwitch) -> bytes:
    if any(len(address) != 16 for address in message.addresses):
        raise ValueError("HomeAgentSwitch.addresses: each must be 16 octets")
    if len(message.addresses) > 127:
        raise ValueError("HomeAgentSwitch.addresses: at most 127 fit a Mobility Header")
    return bytes((len(message.addresses), 0)) + b"".join(message.addresses)


def _set_header_len(mh: bytearray) -> None:
    if len(mh) > MAX_MH_OCTETS:
        raise ValueError(f"message of {len(mh)} octets: a Mobility Header has {MAX_MH_OCTETS}")
    mh[1] = len(mh) // 8 - 1


@cache
def codec_for(code_points: CodePoints) -> Codec:
    """The codec of these code points; it never changes, so that one does for all."""
    return Codec(code_points)


DEFAULT_CODEC = codec_for(DEFAULT_CODE_POINTS)
"""Under this project's default code points."""
