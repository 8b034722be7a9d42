"""The walk along a packet's extension headers to its Mobility Header.

**Order within one header**, since several limits may be broken at once: a ninth header, or one that
begins where 256 octets are used up, is `chain_too_long` without being read; one of which the
payload does not hold the first 8 octets is `bad_chain`; one that ends past 256 octets is
`chain_too_long`; one that ends past the payload, or an AH that is no multiple of 8, is `bad_chain`.

**Fragments.** An atomic one is walked on. Behind a first fragment (offset 0, more to come) the walk
goes on to learn whether it reaches 135; a later fragment ends it, and its own Next Header decides.

**Authority of addresses.** One Home Address option and one type 2 routing header are understood. A
second one leaves the packet `unchecked`, as nobody can say which is meant.

Ref: offload.md §2; RFC 8200 §4; RFC 4302 §2.2; RFC 6275 §6.3 and §6.4
"""

from dataclasses import dataclass

from harp.tables.reasons import Reason
from harp_sim.model import golden
from harp_sim.model.frame import Packet

_HEADERS = (
    golden.NEXT_HOP_BY_HOP,
    golden.NEXT_ROUTING,
    golden.NEXT_FRAGMENT,
    golden.NEXT_AH,
    golden.NEXT_DESTINATION,
)


@dataclass(slots=True)
class Walk:
    """Where the walk ended and what it learned on the way."""

    next_header: int
    """Protocol at `offset`; where `fault` is set the header at fault."""
    offset: int = 0
    """Octets of extension headers walked over."""
    headers: int = 0
    fault: Reason | None = None
    """`chain_too_long`, `bad_chain` or `fragmented`."""
    fragment: bool = False
    """A first or later fragment was met."""
    home: bytes | None = None
    """Address in the Home Address option."""
    routed: bytes | None = None
    """Address in a type 2 routing header with Segments Left 1."""
    checkable: bool = True
    """False: something before the MH makes its checksum unknowable here."""

    @property
    def at_mobility(self) -> bool:
        """Whether a whole Mobility Header should stand at `offset`."""
        return not self.fragment and self.next_header == golden.NEXT_MOBILITY


def walk_chain(packet: Packet) -> Walk:
    """Walk from the fixed header to the first header that is none of the five of offload.md §2."""
    walk = Walk(packet.next_header)
    while walk.next_header in _HEADERS:
        size = _measure(packet.payload, walk)
        if walk.fault is not None:
            return walk
        header = packet.payload[walk.offset : walk.offset + size]
        later = _read(header, walk)
        walk.next_header = header[0]
        walk.offset += size
        walk.headers += 1
        if later:
            break
    if walk.fragment and walk.next_header == golden.NEXT_MOBILITY:
        walk.fault = Reason.FRAGMENTED
    return walk


def follow_chain(kind: int, octets: bytes) -> tuple[int | None, bytes]:
    """What stands behind extension headers without limits: its kind and octets.

    None: a fragment, a header that is cut short or an AH that is no multiple of 8 comes before it.
    """
    while kind in _HEADERS:
        if len(octets) < 8:
            return None, b""
        size = _size(kind, octets[1])
        piece = kind == golden.NEXT_FRAGMENT and (octets[2] << 8 | octets[3]) & 0xFFF9
        if piece or size % 8:
            return None, b""
        kind, octets = octets[0], octets[size:]
    return kind, octets


def _measure(payload: bytes, walk: Walk) -> int:
    """Octets of the header at `walk.offset`; sets `walk.fault` if it breaks a limit."""
    start, limit = walk.offset, golden.CHAIN_OCTETS_MAX
    if walk.headers == golden.CHAIN_HEADERS_MAX or start + 8 > limit:
        walk.fault = Reason.CHAIN_TOO_LONG
        return 0
    if start + 8 > len(payload):
        walk.fault = Reason.BAD_CHAIN
        return 0
    size = _size(walk.next_header, payload[start + 1])
    if start + size > limit:
        walk.fault = Reason.CHAIN_TOO_LONG
    elif start + size > len(payload) or size % 8:
        walk.fault = Reason.BAD_CHAIN
    return size


def _size(kind: int, length: int) -> int:
    """Octets of an extension header from its length field."""
    if kind == golden.NEXT_FRAGMENT:
        return 8
    if kind == golden.NEXT_AH:
        return 4 * (length + 2)
    return 8 * (length + 1)


def _read(header: bytes, walk: Walk) -> bool:
    """Note what one header says; whether it is a later fragment, behind which nothing is known."""
    if walk.next_header == golden.NEXT_FRAGMENT:
        word = header[2] << 8 | header[3]
        offset, more = word >> 3, word & 1
        walk.fragment = walk.fragment or offset != 0 or more != 0
        return offset != 0
    if walk.next_header == golden.NEXT_ROUTING:
        _read_routing(header, walk)
    elif walk.next_header == golden.NEXT_DESTINATION:
        _read_destination(header, walk)
    return False


def _read_routing(header: bytes, walk: Walk) -> None:
    """Take type 2's address while one segment is left; any other with some left is unknowable."""
    segments = header[3]
    if segments == 0:
        return
    type_2 = header[1] == golden.ROUTING_TYPE_2_HEADER_LEN and header[2] == golden.ROUTING_TYPE_2
    if type_2 and segments == 1 and walk.routed is None:
        walk.routed = header[8:24]
    else:
        walk.checkable = False


def _read_destination(header: bytes, walk: Walk) -> None:
    """The one layout of the Home Address option; what is not one PadN either is unknowable."""
    layout = header[1] == golden.HOME_ADDRESS_HEADER_LEN and header[2:4] == _PADN_2
    if layout and header[6:8] == _HOME_ADDRESS:
        if walk.home is not None:
            walk.checkable = False
        walk.home = header[8:24]
    elif not only_padding(header):
        walk.checkable = False


_PADN_2 = bytes((golden.OPTION_PADN, 2))
_HOME_ADDRESS = bytes((golden.OPTION_HOME_ADDRESS, 16))


def only_padding(header: bytes) -> bool:
    """Whether an options header holds one PadN that fills it (RFC 8200 §4.2)."""
    return header[2] == golden.OPTION_PADN and header[3] == len(header) - 4
