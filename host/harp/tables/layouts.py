"""Where each field of a HARP message and of a mobility option lies, and how people read it.

Ref: harp.md §2.1 (fixed part), §2.2, §2.3 (own options); RFC 6275 §6.2; RFC 3963 §4.3;
     RFC 4283 §3; RFC 4285 §5, §6; RFC 5094 §3; RFC 5568 §6.4; RFC 5648 §4.3; RFC 5847 §3.4

The codec takes the octets from here; the dissector also labels and display filters.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, auto

from harp.tables import options as table
from harp.tables.harp_types import HarpFlag, HarpType
from harp.tables.mh import LIFETIME_UNIT_S
from harp.tables.options import OptionInfo


class View(Enum):
    """How people read a field."""

    NUMBER = auto()
    HEX = auto()
    ADDRESS = auto()
    """IPv6 address, 16 octets."""
    OCTETS = auto()
    TIME = auto()
    """NTP timestamp, 64 bits (RFC 5905 §6)."""
    HARP_TYPE = auto()
    STATUS = auto()
    HARP_FLAGS = auto()
    BU_FLAGS = auto()
    OPTION_CODE = auto()
    """Option-Code of an IP Address option: one of the code points `address_*`."""


@dataclass(frozen=True, slots=True)
class WireField:
    """One field, in its place among the others of its tuple."""

    item: str
    """`struct` item: B H I Q (unsigned), Ns (N octets), x (reserved octet); "": all that is
    left."""
    name: str = ""
    """Attribute of the dataclass in `harp.wire.messages`; "": reserved."""
    label: str = ""
    """Name for people."""
    filter: str = ""
    """Display filter of the dissector, below "harp."."""
    view: View = View.NUMBER
    unit: str = ""
    """"s", "ms", "µs" or ""."""
    scale: int = 1
    """The field counts this many of its unit."""
    types: tuple[HarpType, ...] = ()
    """HARP Types in which it means something; (): in all (harp.md §2.1)."""

    @property
    def octets(self) -> int:
        """Octets on the wire; 0 for "all that is left"."""
        return struct.calcsize("!" + self.item)


@dataclass(frozen=True, slots=True)
class OptionLayout:
    """The fields of one option, behind its Length octet."""

    info: OptionInfo
    fields: tuple[WireField, ...]

    @property
    def head(self) -> str:
        """`struct` items of the fixed part."""
        return "".join(field.item for field in self.fields)

    @property
    def tail(self) -> bool:
        """Whether the last field takes all that is left."""
        return self.fields[-1].item == ""

    @property
    def scaled(self) -> str:
        """Name of the field in units of 4 s; "" if there is none."""
        return next((field.name for field in self.fields if field.scale != 1), "")


_V, _T = View, HarpType
RESERVED = WireField("x")

MH_FIELDS: tuple[WireField, ...] = (
    WireField("B", "payload_proto", "Payload Proto", "payload_proto"),
    WireField("B", "header_len", "Header Len", "header_len"),
    WireField("B", "mh_type", "MH Type", "mh_type"),
    RESERVED,
    WireField("H", "checksum", "Checksum", "checksum", _V.HEX),
)
"""Of every Mobility Header; Header Len counts 8 octets beyond the first 8 (RFC 6275 §6.1.1)."""

HARP_FIELDS: tuple[WireField, ...] = (
    WireField("B", "type", "Type", "type", _V.HARP_TYPE),
    WireField("B", "group", "Group ID", "group"),
    WireField("H", "sequence", "Sequence #", "seq"),
    WireField(
        *("B", "status", "Status", "status", _V.STATUS),
        types=(_T.SS_REP, _T.SS_ACK, _T.SO_REP, _T.SB_REP),
    ),
    WireField("B", "flags", "Flags", "flags", _V.HARP_FLAGS, types=(_T.HELLO, _T.SS_REP)),
    WireField("H", "preference", "HA Preference", "preference", types=(_T.HELLO, _T.SO_REQ)),
    WireField("H", "lifetime_s", "HA Lifetime", "lifetime", unit="s", types=(_T.HELLO,)),
    WireField("H", "interval_ms", "Hello Interval", "interval", unit="ms", types=(_T.HELLO,)),
    WireField("H", "index", "Index", "index", types=(_T.SS_REP, _T.SS_ACK)),
)
"""Of every HARP message, behind the checksum (harp.md §2.1)."""

HARP_FLAG_FILTERS: dict[HarpFlag, str] = {
    HarpFlag.A: "active",
    HarpFlag.R: "reply",
    HarpFlag.V: "virtual",
    HarpFlag.M: "more",
    HarpFlag.S: "synchronised",
    HarpFlag.D: "draining",
}
"""Display filter of each flag, below "harp.flags."."""

OPTION_LAYOUTS: tuple[OptionLayout, ...] = (
    OptionLayout(
        table.REFRESH_ADVICE,
        (
            WireField(
                *("H", "interval_s", "Refresh Interval", "refresh_advice"),
                unit="s",
                scale=LIFETIME_UNIT_S,
            ),
        ),
    ),
    OptionLayout(
        table.ALTERNATE_CARE_OF,
        (WireField("16s", "address", "Alternate Care-of Address", "alternate_coa", _V.ADDRESS),),
    ),
    OptionLayout(
        table.NONCE_INDICES,
        (
            WireField("H", "home", "Home Nonce Index", "nonce.home"),
            WireField("H", "care_of", "Care-of Nonce Index", "nonce.care_of"),
        ),
    ),
    OptionLayout(
        table.BINDING_AUTH_DATA,
        (WireField("", "authenticator", "Authenticator", "authenticator", _V.OCTETS),),
    ),
    OptionLayout(
        table.MOBILE_NETWORK_PREFIX,
        (
            RESERVED,
            WireField("B", "length", "Prefix Length", "prefix.length"),
            WireField("16s", "prefix", "Mobile Network Prefix", "prefix", _V.ADDRESS),
        ),
    ),
    OptionLayout(
        table.LINK_LAYER_ADDRESS,
        (
            WireField("B", "code", "Option-Code", "link_layer.code"),
            WireField("", "address", "Link-Layer Address", "link_layer.address", _V.OCTETS),
        ),
    ),
    OptionLayout(
        table.MN_IDENTIFIER,
        (
            WireField("B", "subtype", "Subtype", "mn_id.subtype"),
            WireField("", "identifier", "Identifier", "mn_id", _V.OCTETS),
        ),
    ),
    OptionLayout(
        table.AUTHENTICATION,
        (
            WireField("B", "subtype", "Subtype", "auth.subtype"),
            WireField("I", "spi", "SPI", "auth.spi"),
            WireField("", "tag", "Authentication Data", "auth.tag", _V.OCTETS),
        ),
    ),
    OptionLayout(
        table.REPLAY_PROTECTION,
        (WireField("Q", "timestamp", "Timestamp", "replay.timestamp", _V.TIME),),
    ),
    OptionLayout(
        table.VENDOR,
        (
            WireField("I", "vendor_id", "Vendor ID", "vendor.id"),
            WireField("B", "subtype", "Subtype", "vendor.subtype"),
            WireField("", "data", "Data", "vendor.data", _V.OCTETS),
        ),
    ),
    OptionLayout(
        table.RESTART_COUNTER, (WireField("I", "value", "Restart Counter", "restart_counter"),)
    ),
    OptionLayout(
        table.IP_ADDRESS,
        (
            WireField("B", "code", "Option-Code", "address.kind", _V.OPTION_CODE),
            WireField("B", "prefix_length", "Prefix Length", "address.prefix_length"),
            WireField("16s", "address", "IP Address", "address", _V.ADDRESS),
        ),
    ),
    OptionLayout(
        table.BINDING_IDENTIFIER,
        (
            WireField("H", "bid", "Binding ID", "bid"),
            WireField("B", "status", "Status", "bid.status"),
            WireField("B", "flags", "Flags", "bid.flags", _V.HEX),
            WireField("", "care_of_address", "Care-of Address", "bid.coa", _V.OCTETS),
        ),
    ),
    OptionLayout(
        table.BINDING_CACHE,
        (
            WireField("16s", "home_address", "Home Address", "binding.hoa", _V.ADDRESS),
            WireField("16s", "care_of_address", "Care-of Address", "binding.coa", _V.ADDRESS),
            WireField("H", "flags", "Flags", "binding.flags", _V.BU_FLAGS),
            WireField("H", "sequence", "Sequence #", "binding.seq"),
            WireField(
                *("H", "lifetime_s", "Lifetime", "binding.lifetime"),
                unit="s",
                scale=LIFETIME_UNIT_S,
            ),
            RESERVED,
            RESERVED,
        ),
    ),
    OptionLayout(
        table.DETECTION,
        (
            WireField("I", "interval_us", "Interval", "detection.interval", unit="µs"),
            WireField("B", "multiplier", "Multiplier", "detection.multiplier"),
            RESERVED,
        ),
    ),
    OptionLayout(table.AAA, (WireField("", "data", "AVPs", "aaa", _V.OCTETS),)),
    OptionLayout(
        table.CACHE_DIGEST,
        (
            WireField("I", "count", "Live Bindings", "digest.count"),
            WireField("Q", "hash", "Hash", "digest.hash", _V.HEX),
        ),
    ),
    OptionLayout(
        table.SYNC_POSITION,
        (
            WireField("I", "term", "Term", "sync.term"),
            WireField("I", "position", "Position", "sync.position"),
        ),
    ),
    OptionLayout(
        table.CONFIGURATION, (WireField("8s", "hash", "Hash", "configuration", _V.OCTETS),)
    ),
)
