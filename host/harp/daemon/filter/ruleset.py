"""The rules of the software filter as nftables reads them. No I/O.

Ref: offload.md §2 (reasons, in this order), harp.md §3, §10; nft(8)

The kernel judges what its expressions can see: lengths, types, hop limit, addresses. It cannot tell
a wrong checksum, a replay or whether a HELLO has news; harpd does. A Mobility Header longer than
its payload is seen only where no extension header stands before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address

from harp.engine.config import EngineConfig
from harp.tables.constants import US_PER_S
from harp.tables.harp_types import HarpType
from harp.tables.ipv6 import FIXED_HEADER_OCTETS
from harp.tables.mh import (
    HARP_MH,
    HOP_LIMIT,
    NEXT_HEADER,
    NO_NEXT_HEADER,
    RFC_MH_TYPES,
    MhType,
)
from harp.tables.offload import (
    DEFAULT_BUCKETS,
    DEFAULT_REASON_BUCKETS,
    MALFORMED_BUCKET,
    STRANGER_BUCKET,
    UNKNOWN_TYPE_BUCKET,
)
from harp.tables.reasons import Reason

TABLE = "harp_filter"
FRAMES, DROPPED = "frames_", "dropped_"
"""Counters of a reason: packets judged so, and those of them that were dropped."""
ORIGINAL = "original"
"""Counted like a reason: packets that harpd took by its packet socket (harp.md §10)."""
HARP = "harp"
"""Counted like a reason: well-formed HARP of members, each of which has a rate."""
MAX_STRANGERS = 1024
"""Sources whose rate is counted where members are not all known (`discover`)."""
REMOVE = f"table ip6 {TABLE}\ndelete table ip6 {TABLE}\n"
"""Takes the table away; that it is not there is no error."""


def _rate(bucket: int) -> int:
    """Packets a second of one of the board's buckets."""
    return US_PER_S // DEFAULT_BUCKETS[bucket].period_us


@dataclass(frozen=True, slots=True)
class Rates:
    """Packets a second that pass of what is limited."""

    malformed: int = _rate(MALFORMED_BUCKET)
    """`bad_length`, `bad_payload_proto`."""
    unknown_type: int = _rate(UNKNOWN_TYPE_BUCKET)
    """MH Types that nobody knows; harpd answers each."""
    stranger: int = _rate(STRANGER_BUCKET)
    """HARP from addresses that are no members."""
    peer: int = 10_000
    """HARP of each member."""
    mobile: int = 100_000
    """Binding Updates of all mobile nodes together."""


DEFAULT_RATES = Rates()


@dataclass(frozen=True, slots=True)
class Filter:
    """What the rules are made from."""

    local: frozenset[bytes]
    """Addresses of this home agent, the virtual ones and the multicast group included; to others
    it is transit and not judged."""
    members: frozenset[bytes]
    """Addresses of all members of all groups; empty: strangers may join (`discover`)."""
    harp_type: int
    """MH Type of HARP."""
    hop_limit: bool
    """HARP must have hop limit 255."""
    rates: Rates = DEFAULT_RATES
    """What passes of what is limited."""
    judge: bool = True
    """False: only the originals are dropped."""
    originals: bool = False
    """Drop packets with Destination Options before the MH: harpd took them already, and a kernel
    without Mobile IPv6 would answer each with a Parameter Problem."""

    @classmethod
    def of(
        cls,
        config: EngineConfig,
        *,
        rates: Rates = DEFAULT_RATES,
        judge: bool = True,
        originals: bool = False,
    ) -> Filter:
        """For the groups of one harpd."""
        groups = config.groups
        points = groups[0].code_points
        local = {address for group in groups for address in group.me.addresses}
        local |= {group.virtual_address for group in groups if group.virtual_address}
        members = {a for group in groups for member in group.members for a in member.addresses}
        return cls(
            local=frozenset(local | {points.multicast_group.packed}),
            members=frozenset() if any(group.discover for group in groups) else frozenset(members),
            harp_type=points.mh_type_harp,
            hop_limit=all(group.require_hop_limit for group in groups),
            rates=rates,
            judge=judge,
            originals=originals,
        )


def ruleset(rules: Filter) -> str:
    """The whole table, in one transaction with the removal of the one before."""
    verdicts = list(_verdicts(rules))
    chains = [*verdicts]
    if rules.judge:
        chains.append(_Chain("header", _lines(_header(rules))))
    chains.append(_Chain("judge", _lines(_judgement(rules))))
    counters = "".join(
        f"  counter {kind}{verdict.name} {{ }}\n"
        for verdict in verdicts
        for kind in (FRAMES, DROPPED)
    )
    return (
        f"{REMOVE}table ip6 {TABLE} {{\n{counters}{''.join(_sets(rules))}"
        + "".join(f"  chain {chain.name} {{\n{chain.body}  }}\n" for chain in chains)
        + f"  chain prerouting {{\n{_lines(_entry(rules))}  }}\n}}\n"
    )


def _entry(rules: Filter) -> Iterator[str]:
    yield "type filter hook prerouting priority raw; policy accept;"
    yield "ip6 daddr != @local return"
    yield "jump judge"
    if rules.originals:
        # Judged first: what was dropped as malformed is counted as that.
        yield f"meta l4proto {NEXT_HEADER} exthdr dst exists goto {ORIGINAL}"


@dataclass(frozen=True, slots=True)
class _Chain:
    """Rules under a name."""

    name: str
    body: str


_CONDITIONS: dict[Reason, str] = {
    # Only a packet without extension headers tells where its Mobility Header ends.
    Reason.BAD_LENGTH: f"ip6 nexthdr {NEXT_HEADER} mh hdrlength . meta length != @fitting",
    Reason.UNKNOWN_TYPE: "mh type != @types",
    Reason.BAD_PAYLOAD_PROTO: f"mh nexthdr != {NO_NEXT_HEADER}",
}
"""Reasons that concern every Mobility Header, in the order of offload.md §2."""
_KERNEL_REASONS = (
    Reason.FRAGMENTED,
    Reason.TRUNCATED,
    *_CONDITIONS,
    Reason.UNKNOWN_HARP_TYPE,
    Reason.BAD_SEQUENCE,
    Reason.BAD_HOP_LIMIT,
    Reason.NOT_A_PEER,
)
"""Reasons that nftables can tell."""


def _verdicts(rules: Filter) -> Iterator[_Chain]:
    if rules.judge:
        limited = {
            Reason.BAD_LENGTH: rules.rates.malformed,
            Reason.UNKNOWN_TYPE: rules.rates.unknown_type,
            Reason.BAD_PAYLOAD_PROTO: rules.rates.malformed,
            Reason.NOT_A_PEER: rules.rates.stranger,
        }
        for reason in _KERNEL_REASONS:
            rate = limited.get(reason)
            yield _chain(reason, "" if rate is None else _over(rate, _burst(reason)))
        members = _over(rules.rates.peer, rules.rates.peer)
        yield _chain(HARP, f"update @rates {{ ip6 saddr {members} }}")
        mobiles = _over(rules.rates.mobile, rules.rates.mobile)
        yield _chain(Reason.MOBILITY, f"mh type {MhType.BINDING_UPDATE} {mobiles}")
    if rules.originals:
        yield _chain(ORIGINAL, "")


def _chain(name: str, condition: str) -> _Chain:
    """Counts, and drops where the condition holds (always without one)."""
    drop = f"{condition} counter name {DROPPED}{name} drop".strip()
    return _Chain(name, _lines([f"counter name {FRAMES}{name}", drop]))


def _over(rate: int, burst: int) -> str:
    return f"limit rate over {rate}/second burst {burst} packets"


def _burst(reason: Reason) -> int:
    bucket = DEFAULT_BUCKETS[DEFAULT_REASON_BUCKETS[reason]]
    return bucket.tolerance_us // bucket.period_us + 1


def _judgement(rules: Filter) -> Iterator[str]:
    """What is for us: the header is judged where there is a whole one."""
    if rules.judge:
        yield f"frag nexthdr {NEXT_HEADER} goto {Reason.FRAGMENTED}"
    yield f"meta l4proto != {NEXT_HEADER} return"
    if rules.judge:
        # An expression that reaches past the packet's end does not match, whatever it asks.
        yield "@th,56,8 0-255 goto header"
        yield f"goto {Reason.TRUNCATED}"


def _header(rules: Filter) -> Iterator[str]:
    """The first that applies decides (offload.md §2); `goto` ends it."""
    for reason, condition in _CONDITIONS.items():
        yield f"{condition} goto {reason}"
    yield f"mh type . mh hdrlength @short goto {Reason.BAD_LENGTH}"
    harp = f"mh type {rules.harp_type}"
    yield f"{harp} @th,48,8 > {max(HarpType)} goto {Reason.UNKNOWN_HARP_TYPE}"
    yield f"{harp} @th,64,16 0 goto {Reason.BAD_SEQUENCE}"
    if rules.hop_limit:
        yield f"{harp} ip6 hoplimit != {HOP_LIMIT} goto {Reason.BAD_HOP_LIMIT}"
    if rules.members:
        yield f"{harp} ip6 saddr != @members goto {Reason.NOT_A_PEER}"
    yield f"{harp} goto {HARP}"
    yield f"goto {Reason.MOBILITY}"


def _sets(rules: Filter) -> Iterator[str]:
    """Every set has elements: nft takes no empty list."""
    yield _set("local", "type ipv6_addr;", _addresses(rules.local))
    if not rules.judge:
        return
    if rules.members:
        yield _set("members", "type ipv6_addr;", _addresses(rules.members))
    size = max(len(rules.members), MAX_STRANGERS)
    yield f"  set rates {{ type ipv6_addr; size {size}; flags dynamic; }}\n"
    types = {row.type: row.min_header_len for row in RFC_MH_TYPES}
    types[rules.harp_type] = HARP_MH.min_header_len
    yield _set("types", "typeof mh type;", map(str, types))
    short = (f"{kind} . 0-{least - 1}" for kind, least in types.items() if least)
    yield _set("short", "typeof mh type . mh hdrlength; flags interval;", short)
    lengths = (f"{n} . {FIXED_HEADER_OCTETS + 8 * (n + 1)}-65575" for n in range(256))
    yield _set("fitting", "typeof mh hdrlength . meta length; flags interval;", lengths)


def _set(name: str, kind: str, elements: Iterable[str]) -> str:
    return f"  set {name} {{ {kind} elements = {{ {', '.join(elements)} }} }}\n"


def _addresses(addresses: Iterable[bytes]) -> Iterator[str]:
    return (str(IPv6Address(address)) for address in sorted(addresses))


def _lines(rules: Iterable[str]) -> str:
    return "".join(f"    {rule}\n" for rule in rules)
