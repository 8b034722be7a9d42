"""Mobility options: octets to dataclasses and back.

Ref: RFC 6275 §6.2; harp.md §2 (padding, alignment), §2.2, §2.3; layouts: `harp.tables.layouts`

Each option is a fixed head and perhaps a tail of octets (its last field). Parsing raises `Fault`
with `bad_option`, building ValueError; neither leaves the codec unexplained.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harp.tables import options as table
from harp.tables.codepoints import CodePoints
from harp.tables.layouts import OPTION_LAYOUTS, OptionLayout
from harp.tables.options import Alignment, OptionInfo
from harp.tables.reasons import Reason
from harp.wire import messages as msg
from harp.wire.fault import Fault
from harp.wire.fixed import Fixed, range_error
from harp.wire.maker import maker


@dataclass(frozen=True, slots=True)
class Layout:
    """One option class and how it lies on the wire."""

    cls: type[Any]
    """The option's dataclass; its fields are those of the head, then the tail."""
    wire: OptionLayout

    @property
    def info(self) -> OptionInfo:
        """Its row of the option table."""
        return self.wire.info


_CLASSES: dict[OptionInfo, type[Any]] = {
    table.REFRESH_ADVICE: msg.RefreshAdvice,
    table.ALTERNATE_CARE_OF: msg.AlternateCareOf,
    table.NONCE_INDICES: msg.NonceIndices,
    table.BINDING_AUTH_DATA: msg.BindingAuthData,
    table.MOBILE_NETWORK_PREFIX: msg.MobileNetworkPrefix,
    table.LINK_LAYER_ADDRESS: msg.LinkLayerAddress,
    table.MN_IDENTIFIER: msg.MnIdentifier,
    table.AUTHENTICATION: msg.Authentication,
    table.REPLAY_PROTECTION: msg.ReplayProtection,
    table.VENDOR: msg.Vendor,
    table.RESTART_COUNTER: msg.RestartCounter,
    table.IP_ADDRESS: msg.IpAddress,
    table.BINDING_IDENTIFIER: msg.BindingIdentifier,
    table.BINDING_CACHE: msg.BindingCache,
    table.DETECTION: msg.Detection,
    table.AAA: msg.Aaa,
    table.CACHE_DIGEST: msg.CacheDigest,
    table.SYNC_POSITION: msg.SyncPosition,
    table.CONFIGURATION: msg.Configuration,
}
LAYOUTS: tuple[Layout, ...] = tuple(Layout(_CLASSES[row.info], row) for row in OPTION_LAYOUTS)
BINDING_CACHE_HEAD = next(row.head for row in OPTION_LAYOUTS if row.info is table.BINDING_CACHE)
"""Home address, care-of address, flags, sequence, lifetime (harp.md §2.2)."""


class OptionCodec:
    """Parses and builds the mobility options under one set of code points."""

    def __init__(self, code_points: CodePoints) -> None:
        self._auth_subtype = code_points.auth_subtype
        bound = [_bind(layout, code_points) for layout in LAYOUTS]
        self._by_type = {option.number: option for option in bound}
        self._by_class = {option.layout.cls: option for option in bound}

    def parse(self, mh: bytes, at: int) -> msg.Options:
        """Options from octet `at` of the Mobility Header to its end, padding left out.

        Raises Fault: an option runs past the end, has a wrong length or value, or an HA-HA
        authentication option is not the last (harp.md §2).
        """
        return self.parse_until(mh, at, None)[0]

    def parse_until(self, mh: bytes, at: int, until: int | None) -> tuple[msg.Options, int]:
        """As `parse`, up to the first option of type `until`; also the octet where that stands,
        or the end."""
        options: list[msg.Option] = []
        end = len(mh)
        while at < end:
            kind = mh[at]
            if kind == table.PAD1:
                at += 1
                continue
            if kind == until:
                break
            body = at + 2
            if body > end or (stop := body + mh[at + 1]) > end:
                raise Fault(Reason.BAD_OPTION, f"option {kind} at octet {at} runs past the end")
            if kind != table.PADN:
                options.append(self._parse_one(kind, mh[body:stop], at, last=stop == end))
            at = stop
        return tuple(options), at

    def _parse_one(self, kind: int, data: bytes, at: int, last: bool) -> msg.Option:
        codec = self._by_type.get(kind)
        if codec is None:
            return msg.UnknownOption(kind, data)
        option = codec.parse(data, at)
        if type(option) is msg.Authentication and option.subtype == self._auth_subtype:
            # harp.md §2: "a 9 HA–HA that is not last, or twice, is `bad_option`"
            if len(data) != table.HA_HA_AUTH_LENGTH:
                raise Fault(Reason.BAD_OPTION, f"HA-HA authentication of length {len(data)}")
            if not last:
                raise Fault(Reason.BAD_OPTION, f"HA-HA authentication at octet {at} is not last")
        return option

    def append(self, mh: bytearray, options: Iterable[msg.Option]) -> None:
        """Appends options to `mh`, each behind the fewest padding octets that align it (harp.md
        §2). Raises ValueError naming the field that does not fit."""
        for option in options:
            codec = self._by_class.get(type(option))
            if codec is not None:
                kind, data, alignment = codec.number, codec.build(option), codec.alignment(option)
            else:
                kind, data, alignment = self._unknown(option)
            gap = (alignment.rest - len(mh)) % alignment.multiple
            if gap:
                mh += padding(gap)
            mh += bytes((kind, len(data)))
            mh += data

    def _unknown(self, option: Any) -> tuple[int, bytes, Alignment]:
        """Type, octets and alignment of an option that has no class of its own."""
        kind, data = option.type, option.data
        if len(data) > 255 or not table.PADN < kind < 256:
            raise ValueError(f"option of type {kind} with {len(data)} octets: cannot be built")
        return kind, data, self._alignment_of(kind)

    def _alignment_of(self, kind: int) -> Alignment:
        """Of an option type: an IP Address of another Option-Code is unknown, its type is not."""
        known = self._by_type.get(kind)
        return known.layout.info.alignment if known else Alignment()


def padding(octets: int) -> bytes:
    """Pad1 for one octet, else one PadN of zeros (harp.md §2)."""
    if octets < 2:
        return bytes(octets)
    return bytes((table.PADN, octets - 2)) + bytes(octets - 2)


class _Option:
    """Codec of one option type: its layout bound to its number."""

    def __init__(self, layout: Layout, code_points: CodePoints) -> None:
        self.layout = layout
        info = layout.info
        self.number = info.type_under(code_points)
        names = tuple(field.name for field in layout.wire.fields if field.name)
        self._tail = names[-1] if layout.wire.tail else ""
        head = names[:-1] if self._tail else names
        self._head = Fixed(layout.wire.head, head, layout.wire.scaled)
        self._construct = maker(layout.cls)
        self._lengths = frozenset(info.lengths)

    def alignment(self, _option: Any) -> Alignment:
        """Where the option may begin (harp.md §2)."""
        return self.layout.info.alignment

    def parse(self, data: bytes, at: int) -> msg.Option:
        """The option in `data`, which stood at octet `at`; raises Fault."""
        if len(data) not in self._lengths:
            raise self._fault(at, f"length {len(data)}")
        values = self._head.unpack(data)
        if self._tail:
            values += (data[self._head.octets :],)
        return self._make(values, at)

    def _make(self, values: tuple[Any, ...], _at: int) -> msg.Option:
        option: msg.Option = self._construct(*values)
        return option

    def _fault(self, at: int, detail: str) -> Fault:
        return Fault(Reason.BAD_OPTION, f"{self.layout.info.name} option at octet {at}: {detail}")

    def build(self, option: Any) -> bytes:
        """All after the Length octet; raises ValueError naming a field that does not fit."""
        data = self._head.pack(option)
        if self._tail:
            data += getattr(option, self._tail)
            if len(data) not in self._lengths:
                raise range_error(option, self._tail, "its length is not allowed")
        return data


class _Prefix(_Option):
    """Mobile Network Prefix: at most 128 bits (RFC 3963 §4.3)."""

    def _make(self, values: tuple[Any, ...], at: int) -> msg.Option:
        if values[0] > 128:
            raise self._fault(at, f"prefix length {values[0]}")
        return super()._make(values, at)

    def build(self, option: Any) -> bytes:
        if option.length > 128:
            raise range_error(option, "length", "must be at most 128")
        return super().build(option)


class _Authentication(_Option):
    """Authentication: the HA-HA one is placed so that it ends the message (harp.md §2)."""

    def __init__(self, layout: Layout, code_points: CodePoints) -> None:
        super().__init__(layout, code_points)
        self._ha_ha = code_points.auth_subtype

    def alignment(self, option: Any) -> Alignment:
        own = option.subtype == self._ha_ha
        return table.HA_HA_AUTH_ALIGNMENT if own else super().alignment(option)


class _BindingIdentifier(_Option):
    """Binding Identifier: aligned for the care-of address that it may carry (RFC 5648 §4.1)."""

    def alignment(self, option: Any) -> Alignment:
        if option.care_of_address:
            return table.BINDING_IDENTIFIER_WITH_ADDRESS_ALIGNMENT
        return super().alignment(option)


@dataclass(frozen=True, slots=True)
class _RawIpAddress:
    """An IP Address option's fields as they lie on the wire."""

    code: int
    prefix_length: int
    address: bytes


class _IpAddress(_Option):
    """IP Address: our three Option-Codes; others (RFC 5568 §6.4.2) are unknown options."""

    def __init__(self, layout: Layout, code_points: CodePoints) -> None:
        super().__init__(layout, code_points)
        self._codes = {
            msg.AddressKind.HOME: code_points.address_home,
            msg.AddressKind.HOME_AGENT: code_points.address_home_agent,
            msg.AddressKind.CARE_OF: code_points.address_care_of,
        }
        self._kinds = {code: kind for kind, code in self._codes.items()}

    def _make(self, values: tuple[Any, ...], at: int) -> msg.Option:
        code, prefix_length, address = values
        if code not in self._kinds:
            return msg.UnknownOption(self.number, bytes((code, prefix_length)) + address)
        if prefix_length != table.ADDRESS_PREFIX_LENGTH:
            raise self._fault(at, f"prefix length {prefix_length}")
        return msg.IpAddress(self._kinds[code], address)

    def build(self, option: Any) -> bytes:
        code = self._codes[option.kind]
        return super().build(_RawIpAddress(code, table.ADDRESS_PREFIX_LENGTH, option.address))


def _bind(layout: Layout, code_points: CodePoints) -> _Option:
    return _SPECIAL.get(layout.cls, _Option)(layout, code_points)


_SPECIAL: dict[type, type[_Option]] = {
    msg.Authentication: _Authentication,
    msg.BindingIdentifier: _BindingIdentifier,
    msg.IpAddress: _IpAddress,
    msg.MobileNetworkPrefix: _Prefix,
}
