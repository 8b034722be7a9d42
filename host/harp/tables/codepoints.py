"""Numbers that the draft left TBD: this project's defaults, each of which can be set.

Ref: draft-ietf-mip6-hareliability-09; harp.md §2; RFC 5096 (experimental code points);
     RFC 4727 §3.3 (experimental multicast addresses)

IANA never assigned one of these. The values here are our profile; the option types 241 to 246 are
unassigned space. Members of one group must share them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from ipaddress import IPv6Address

from harp.tables.mh import HARP_MH, RFC_MH_TYPES
from harp.tables.options import RFC_OPTIONS

_MULTICAST_GROUP = IPv6Address("ff02::114")


@dataclass(frozen=True, slots=True)
class CodePoints:
    """Every TBD number of the draft. Raises ValueError, naming the field, on a value that cannot
    work: out of range, that of a message or option known here, or used twice."""

    mh_type_harp: int = HARP_MH.type
    """MH Type of all HARP messages; 11 is "Experimental Mobility Header" (RFC 5096)."""
    option_binding_cache: int = 241
    """Binding Cache Information option (harp.md §2.2)."""
    option_detection: int = 242
    """Detection option (harp.md §2.3)."""
    option_aaa: int = 243
    """AAA Information option (harp.md §2.3)."""
    option_digest: int = 244
    """Cache Digest option (harp.md §2.3)."""
    option_sync_position: int = 245
    """Sync Position option (harp.md §2.3)."""
    option_configuration: int = 246
    """Configuration option (harp.md §2.3)."""
    address_home: int = 241
    """Option-Code of the IP Address option (34): home address (harp.md §2.3)."""
    address_home_agent: int = 242
    """Option-Code of the IP Address option (34): home agent address (harp.md §2.3)."""
    address_care_of: int = 243
    """Option-Code of the IP Address option (34): care-of address (harp.md §2.3)."""
    auth_subtype: int = 241
    """Subtype "HA-HA" of the authentication option (9) (harp.md §2.3)."""
    multicast_group: IPv6Address = _MULTICAST_GROUP
    """Group of multicast HELLOs; ff02::114 is experimental (RFC 4727 §3.3)."""

    def __post_init__(self) -> None:
        spaces = {
            "mh_type_": {int(row.type): row.name for row in RFC_MH_TYPES},
            "option_": {row.number: row.name for row in RFC_OPTIONS if row.number is not None},
            # RFC 5568 §6.4.2: 1 to 4; RFC 4285 §5: subtypes 1 and 2
            "address_": dict.fromkeys(range(5), "RFC 5568"),
            "auth_": dict.fromkeys(range(3), "RFC 4285"),
        }
        for prefix, taken in spaces.items():
            for name in (f.name for f in fields(self) if f.name.startswith(prefix)):
                value = getattr(self, name)
                if not (isinstance(value, int) and 0 <= value <= 255):
                    raise ValueError(f"{name} = {value}: not in 0 to 255")
                if value in taken:
                    raise ValueError(f"{name} = {value}: already used by {taken[value]}")
                taken[value] = name
        group = self.multicast_group
        if not group.is_multicast or group.packed[1] & 0x0F != 2:
            raise ValueError(f"multicast_group = {group}: not a link-local multicast address")


DEFAULT_CODE_POINTS = CodePoints()
