"""Faults of one frame, each with the reason that it causes, to be planted alone and in pairs.

A fault changes one `part` of a draft; two faults of different parts stand side by side, and the one
with the lower `rank` (the order of offload.md §2) decides. `CLASHES` names the pairs of parts that
cannot both be seen.

Ref: offload.md §2; harp.md §3
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from harp.tables.reasons import Reason
from harp_sim.build import Draft, Extension, authentication, fragment, padding_header, routing
from harp_sim.model import golden

STRANGER = bytes.fromhex("20010db80001000000000000000000ee")
ELSEWHERE = bytes.fromhex("20010db8000f00000000000000000100")
BLOCKED_TYPE = 4
"""The MH Type that `harp_sim.frames.bench_config` blocks."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a HELLO of a peer."""

    name: str
    reason: Reason
    rank: int
    """Place in the order of judgement; the lower decides."""
    part: str
    plant: Callable[[Draft], Draft]


def _mh(draft: Draft, at: int, value: int) -> Draft:
    mh = draft.payload
    return replace(draft, payload=mh[:at] + bytes((value,)) + mh[at + 1 :])


def _first(draft: Draft, *headers: Extension) -> Draft:
    return replace(draft, chain=(*headers, *draft.chain))


def _fragment(draft: Draft, header: Extension) -> Draft:
    return replace(draft, chain=(*draft.chain, header))


def _past_payload(draft: Draft) -> Draft:
    long = Extension(golden.NEXT_DESTINATION, bytes((0, 26)) + bytes(6))
    return replace(draft, chain=(*draft.chain, long))


def _short(draft: Draft) -> Draft:
    """Header Len 1, the least type 11 may have being 2."""
    return _mh(replace(draft, payload=draft.payload[:16]), 1, 1)


def _no_sequence(draft: Draft) -> Draft:
    return _mh(_mh(draft, 8, 0), 9, 0)


_UNKNOWN_OPTION = Extension(golden.NEXT_DESTINATION, bytes((0, 0, 0x1E, 4, 0, 0, 0, 0)))
_TYPE_0 = routing(0, 1, ELSEWHERE)
_EIGHT = golden.CHAIN_HEADERS_MAX
_NINE_HEADERS = tuple(padding_header(8) for _ in range(_EIGHT + 1))
_LONG_CHAIN = (padding_header(256), padding_header(8))
_R = Reason
_MISALIGNED = authentication(1, 16)

FAULTS: tuple[Fault, ...] = (
    Fault("fcs", _R.BAD_FRAME, 0, "mac", lambda d: replace(d, fcs_ok=False)),
    Fault("rx_er", _R.BAD_FRAME, 0, "mac", lambda d: replace(d, rx_er=True)),
    Fault("runt", _R.BAD_FRAME, 0, "size", lambda d: replace(d, cut=63)),
    Fault("oversize", _R.BAD_FRAME, 0, "size", lambda d: replace(d, size=9217)),
    Fault("arp", _R.NOT_IPV6, 1, "ethertype", lambda d: replace(d, ethertype=0x0806)),
    Fault("length_field", _R.NOT_IPV6, 1, "ethertype", lambda d: replace(d, ethertype=0x05FF)),
    Fault("third_tag", _R.NOT_IPV6, 1, "tags", lambda d: replace(d, tags=(1, 2, 3))),
    Fault("version", _R.BAD_IPV6, 2, "version", lambda d: replace(d, version=4)),
    Fault("past_frame", _R.BAD_IPV6, 2, "length", lambda d: replace(d, length_error=9300)),
    Fault("nine_headers", _R.CHAIN_TOO_LONG, 3, "filler", lambda d: _first(d, *_NINE_HEADERS)),
    Fault("long_chain", _R.CHAIN_TOO_LONG, 3, "filler", lambda d: _first(d, *_LONG_CHAIN)),
    Fault("past_payload", _R.BAD_CHAIN, 4, "bad_header", _past_payload),
    Fault("ah", _R.BAD_CHAIN, 4, "bad_header", lambda d: _fragment(d, _MISALIGNED)),
    Fault("first", _R.FRAGMENTED, 5, "fragment", lambda d: _fragment(d, fragment(0, True))),
    Fault("later", _R.FRAGMENTED, 5, "fragment", lambda d: _fragment(d, fragment(3, False))),
    Fault("tcp", _R.NOT_MOBILITY, 6, "last", lambda d: replace(d, last=6)),
    Fault("esp", _R.NOT_MOBILITY, 6, "last", lambda d: replace(d, last=golden.NEXT_ESP)),
    Fault("transit", _R.NOT_MOBILITY, 6, "to", lambda d: replace(d, destination=ELSEWHERE)),
    Fault("cut", _R.TRUNCATED, 7, "mh_size", lambda d: replace(d, payload=d.payload[:7])),
    Fault("long_mh", _R.BAD_LENGTH, 8, "header_len", lambda d: _mh(d, 1, 9)),
    Fault("option", _R.UNCHECKED, 9, "opaque", lambda d: _first(d, _UNKNOWN_OPTION)),
    Fault("type_0", _R.UNCHECKED, 9, "opaque", lambda d: _first(d, _TYPE_0)),
    Fault("sum", _R.BAD_CHECKSUM, 10, "sum", lambda d: replace(d, sum_error=0x0100)),
    Fault("unknown", _R.UNKNOWN_TYPE, 11, "type", lambda d: _mh(d, 2, 99)),
    Fault("proto", _R.BAD_PAYLOAD_PROTO, 12, "proto", lambda d: _mh(d, 0, 6)),
    Fault("short", _R.BAD_LENGTH, 13, "header_len", _short),
    Fault("blocked", _R.TYPE_BLOCKED, 14, "type", lambda d: _mh(d, 2, BLOCKED_TYPE)),
    Fault("harp_type", _R.UNKNOWN_HARP_TYPE, 15, "harp_type", lambda d: _mh(d, 6, 10)),
    Fault("sequence", _R.BAD_SEQUENCE, 16, "sequence", _no_sequence),
    Fault("hop_limit", _R.BAD_HOP_LIMIT, 17, "hop_limit", lambda d: replace(d, hop_limit=254)),
    Fault("stranger", _R.NOT_A_PEER, 18, "from", lambda d: replace(d, source=STRANGER)),
)
"""Every stateless fault, in the order of judgement; planted in this order, too."""

CLASHES = {
    frozenset(pair)
    for pair in (
        ("fragment", "last"),
        ("mh_size", "header_len"),
        ("mh_size", "type"),
        ("mh_size", "proto"),
        ("mh_size", "harp_type"),
        ("mh_size", "sequence"),
    )
}
"""Pairs of parts of which one hides the other: a fragment of something else than an MH is nothing
wrong, and an MH cut to 7 octets has no later fields."""


def pairs() -> Iterator[tuple[Fault, Fault]]:
    """Every two faults that can stand side by side, the deciding one first."""
    for first, second in combinations(FAULTS, 2):
        parts = frozenset((first.part, second.part))
        if len(parts) == 2 and parts not in CLASHES:
            yield first, second


def plant(draft: Draft, *faults: Fault) -> Draft:
    """The draft with these faults."""
    for fault in faults:
        draft = fault.plant(draft)
    return draft
