"""A second, slow opinion: is this IPv6 payload a valid message, and if not, which reason?

Ref: harp.md §2, §3 rules 1-7; RFC 6275 §6.1-2, RFC 3963 §4.3, RFC 4285 §5-6, RFC 5142 §5.1,
RFC 5648 §4.1, RFC 5847 §3. It walks the octets by itself, knows nothing of `harp.wire` or
`harp.tables`, and is written to be read beside the text, not to be fast.
"""

from .bytes_by_hand import ones_complement_sum, pseudo_header

MINIMUM_HEADER_LEN = {0: 0, 1: 1, 2: 1, 3: 2, 4: 2, 5: 1, 6: 1, 7: 2, 11: 2, 12: 0, 13: 1}
"""harp.md §2.3, last item; a type that is not here is `unknown_type`."""

OPTIONS_AT = {0: 8, 5: 12, 6: 12, 7: 24, 11: 20, 13: 12}
"""First octet of the options; the Home Agent Switch (12) counts its addresses. The return
routability messages (1 to 4) are between mobile and correspondent node: not looked into."""

EXACT_LENGTH = {
    2: 2,
    3: 16,
    4: 4,
    6: 18,
    10: 8,
    28: 4,
    34: 18,
    241: 40,
    242: 6,
    244: 12,
    245: 8,
    246: 8,
}
"""Option type → its only right length."""

SHORTEST = {5: 0, 7: 1, 8: 1, 9: 5, 19: 5, 35: 4, 243: 0}
"""Option type → shortest length where it may vary: RFC 6275 §6.2.7, RFC 5568 §6.4.4, RFC 4283 §3,
RFC 4285 §5, RFC 5094 §3, RFC 5648 §4.3, harp.md §2.3."""

BINDING, POSITION, DIGEST, ADDRESS, PREFIX, VENDOR, AUTH, BID = 241, 245, 244, 34, 6, 19, 9, 35
OF_A_BINDING = {6, 35, 19, 243}
"""Known options that belong to the 241 before them, harp.md §2.2; unknown ones do too."""


def verdict(src: bytes, dst: bytes, payload: bytes) -> str:
    """`"valid"`, or the reason of the first rule of harp.md §3 that fails (1 to 7)."""
    if len(payload) < 8:
        return "truncated"
    proto, header_len, mh_type = payload[0], payload[1], payload[2]
    octets = (header_len + 1) * 8
    if octets > len(payload):
        return "bad_length"
    mh = payload[:octets]
    if ones_complement_sum(pseudo_header(src, dst, octets, 135) + mh) != 0xFFFF:
        return "bad_checksum"
    if mh_type not in MINIMUM_HEADER_LEN:
        return "unknown_type"
    if proto != 59:
        return "bad_payload_proto"
    if header_len < MINIMUM_HEADER_LEN[mh_type]:
        return "bad_length"
    if mh_type == 11:
        return harp_verdict(mh)
    if mh_type in (1, 2, 3, 4):
        return "valid"
    at = 8 + 16 * mh[6] if mh_type == 12 else OPTIONS_AT[mh_type]
    if at > octets:  # more addresses than there is room for
        return "bad_length"
    return "bad_option" if walk(mh, at) is None else "valid"


def harp_verdict(mh: bytes) -> str:
    """Rule 7 for the HARP message."""
    kind, sequence = mh[6], mh[8] * 256 + mh[9]
    if kind > 9:
        return "unknown_harp_type"
    if sequence == 0:
        return "bad_sequence"
    options = walk(mh, 20)
    if options is None or not complete(mh, options):
        return "bad_option"
    return "valid"


def walk(mh: bytes, at: int) -> list[tuple[int, bytes]] | None:
    """Every option but padding, or None if one is malformed."""
    found = []
    while at < len(mh):
        kind = mh[at]
        if kind == 0:
            at += 1
            continue
        if at + 2 > len(mh) or at + 2 + mh[at + 1] > len(mh):
            return None
        data = mh[at + 2 : at + 2 + mh[at + 1]]
        at += 2 + len(data)
        if kind == 1:
            continue
        if not well_formed(kind, data):
            return None
        if is_ha_ha(kind, data) and at != len(mh):  # "nothing after it", hence not twice either
            return None
        found.append((kind, data))
    return found


def is_ha_ha(kind: int, data: bytes) -> bool:
    """harp.md §2.3."""
    return kind == AUTH and data[:1] == b"\xf1"


def well_formed(kind: int, data: bytes) -> bool:
    """Length of a known option, and the fields whose range the formats bound."""
    if len(data) != EXACT_LENGTH.get(kind, len(data)) or len(data) < SHORTEST.get(kind, 0):
        return False
    if kind == PREFIX:
        return data[1] <= 128
    if kind == ADDRESS and is_our_address(data):
        return data[1] == 128
    if kind == BID:  # RFC 5648 §4.3: alone, or with an IPv4 or IPv6 care-of address
        return len(data) in (4, 8, 20)
    if is_ha_ha(kind, data):
        return len(data) == 21
    return True


def is_our_address(data: bytes) -> bool:
    """An IP Address option with another Option-Code is one that this version does not know."""
    return data[0] in (241, 242, 243)


def belongs_to_binding(kind: int, data: bytes) -> bool:
    """harp.md §2.2: "(6, 35, 19, 243, unknown ones; never 9, 10)"."""
    known = kind in EXACT_LENGTH or kind in SHORTEST
    return kind in OF_A_BINDING or not known or (kind == ADDRESS and not is_our_address(data))


def complete(mh: bytes, options: list[tuple[int, bytes]]) -> bool:
    """Mandatory and misplaced options of each HARP Type, harp.md §2.1-2.3."""
    kind, status, flags = mh[6], mh[10], mh[11]
    index = mh[18] * 256 + mh[19]
    kinds = [k for k, _ in options]
    if DIGEST in kinds and POSITION not in kinds:
        return False
    if kind == 1:
        return any(k in (PREFIX, VENDOR) or (k == ADDRESS and d[0] == 241) for k, d in options)
    if kind == 2 and status >= 128:
        return True  # refused: nothing to apply
    if kind == 2 and index == 0:
        return log_complete(options)
    if kind == 2 and not flags & 0x10:  # the last of an answer; Index 1 need not be the first
        return POSITION in kinds
    if kind == 3 and index == 0 and status < 128:
        return POSITION in kinds
    if kind == 9:
        return any(k == ADDRESS and d[0] == 242 for k, d in options)
    return True


def log_complete(options: list[tuple[int, bytes]]) -> bool:
    """A log message: Sync Position, one or more bindings, and what is a binding's behind one."""
    kinds = [kind for kind, _ in options]
    if POSITION not in kinds or BINDING not in kinds:
        return False
    before = options[: kinds.index(BINDING)]
    return not any(belongs_to_binding(*option) for option in before)
