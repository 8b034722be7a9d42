"""Seeded stimuli for the bench and for the model's tests.

An endless, repeatable stream of frames from the network: families follow each other at random, each
with its own plan. Octets are those on the wire from destination address to FCS, both included;
`fcs_ok` says what the MAC says of it. The plans:

- *sizes*: every size from 60 to 128, around 1514 and 9216, with 0 to 2 tags;
- *chains*: every extension header alone, in pairs, up to the limits and past them;
- *types*: every MH Type with Header Len around its minimum;
- *faults*: every single fault, then every pair (`harp_sim.faults`);
- *hellos*: HELLOs of the configured peers, with and without news, in and out of sequence, signed,
  long, leaving, in floods, on the wrong VLAN or with the wrong group;
- *noise*: one of those with random octets overwritten.

Ref: offload.md §2, §3 and §7
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import cycle, product

from harp_sim.build import (
    Draft,
    Extension,
    authenticated,
    authentication,
    fragment,
    harp,
    home_address,
    mobility,
    options_header,
    pad_n,
    padding_header,
    routing,
    with_fcs,
)
from harp_sim.faults import BLOCKED_TYPE, ELSEWHERE, FAULTS, STRANGER, pairs, plant
from harp_sim.model import golden
from harp_sim.model.config import (
    Bucket,
    Config,
    Fenced,
    Mode,
    Peer,
    Port,
    default_types,
)

OWN = bytes.fromhex("20010db80001000000000000000000bb")
"""The home agent behind the board."""
ALL_HOME_AGENTS = bytes.fromhex("ff020000000000000000000000000114")
"""ff02::114 (harp.md §2)."""
HOME = bytes.fromhex("20010db8000100000000000000000100")
GROUP = 7
SIZES = (
    *range(60, 129),
    *range(1510, 1523),
    *range(9208, 9222),
)
"""Octets of a frame with its FCS: every boundary with its neighbours."""
MIN_GAP_OCTETS = 8
PREAMBLE_OCTETS = 8


@dataclass(frozen=True, slots=True)
class Stimulus:
    """One frame to send."""

    label: str
    """What it is meant to be, for a failure's message."""
    octets: bytes
    """FCS included."""
    fcs_ok: bool = True
    rx_er: bool = False
    gap: int = 12
    """Idle octets on the line before its preamble, at least 8."""
    port: Port = Port.NETWORK


def peer_address(index: int) -> bytes:
    """Address of the bench's peer `index`."""
    return OWN[:15] + bytes((index + 1,))


def bench_config() -> Config:
    """The offload as the bench runs it: filter on, 32 peers of every kind, short deadlines.

    Peers 0 to 15 are verified, 16 to 23 seen, 24 to 27 bound to a VLAN, 28 and 29 must be
    authenticated, 30 and 31 have no deadline and the address and group of 25 and 28. Buckets are
    quick, so that they run empty and fill.
    """
    types = default_types()
    types[BLOCKED_TYPE] = replace(types[BLOCKED_TYPE], allowed=False)
    shared = tuple(Bucket((n + 1) * 40, n * 100) for n in range(golden.BUCKETS))
    news = (Bucket(300, 900),) * golden.PEERS
    return Config(
        filter_enable=True,
        pass_every=4,
        types=types,
        local=(OWN, HOME),
        peers=tuple(_bench_peer(n) for n in range(golden.PEERS)),
        buckets=shared + news,
        fence=(Fenced(OWN), Fenced(HOME[:15] + b"\x55", own=True), Fenced(HOME, 64)),
    )


def _bench_peer(index: int) -> Peer:
    deadline_us = 0 if index >= 30 else 400 + 250 * index
    key = {30: 25, 31: 28}.get(index, index)
    return Peer(
        peer_address(key),
        GROUP + key % 3,
        vlan=(0, 5, 9, 5)[index - 24] if 24 <= index < 28 else None,
        mode=Mode.SEEN if 16 <= index < 24 else Mode.VERIFIED,
        deadline_us=deadline_us,
        late_us=deadline_us * 2 // 3,
        multiplier=3 + index * 2,
        authenticated=index in (28, 29),
    )


def chains() -> Iterator[tuple[Extension, ...]]:
    """Every chain of interest: alone, in pairs, at the limits and past them."""
    alone = list(_single_headers())
    yield ()
    yield from ((header,) for header in alone)
    yield from product(alone[:: max(1, len(alone) // 11)], repeat=2)
    for count in (7, 8, 9):
        yield (padding_header(8),) * count
        yield (*(padding_header(8),) * (count - 1), authentication(0))
    for octets in (240, 248, 256):
        yield (padding_header(octets),)
        yield (padding_header(octets), padding_header(8))
    yield (padding_header(32),) * 8
    yield (*(padding_header(32),) * 7, padding_header(40))


def _single_headers() -> Iterator[Extension]:
    """Each kind of extension header in each form that the walk tells apart."""
    yield padding_header(8, golden.NEXT_HOP_BY_HOP)
    yield padding_header(24, golden.NEXT_HOP_BY_HOP)
    yield options_header(bytes((5, 2, 0, 0, 1, 0)), golden.NEXT_HOP_BY_HOP)
    yield padding_header(8)
    yield options_header(bytes(6))
    yield options_header(bytes(3) + pad_n(3))
    yield options_header(pad_n(2) + pad_n(10) + bytes(2))
    yield options_header(pad_n(3)[:1] + b"\x09" + bytes(4))
    yield options_header(bytes(5) + bytes((golden.OPTION_PADN,)))
    yield options_header(bytes((golden.OPTION_PADN, 3, 0, 0, 0, 0)))
    yield options_header(bytes((0x1E, 4, 0, 0, 0, 0)))
    yield home_address(HOME)
    yield options_header(bytes((golden.OPTION_HOME_ADDRESS, 16)) + HOME + pad_n(4))
    yield routing(2, 1, HOME)
    yield routing(2, 0, HOME)
    yield routing(2, 2, HOME)
    yield routing(2, 1, HOME, OWN)
    yield routing(0, 0, HOME)
    yield routing(0, 1, HOME)
    yield routing(253, 0)
    yield routing(253, 1)
    yield fragment(0, False)
    yield fragment(0, True)
    yield fragment(1, False)
    yield fragment(100, True)
    yield authentication(0)
    yield authentication(4)
    yield authentication(1, 16)
    yield Extension(golden.NEXT_AH, bytes((0, 255)) + bytes(6))


def covered_addresses(draft: Draft) -> Draft:
    """The draft with the addresses in its checksum that its chain makes valid."""
    source = destination = None
    for header in draft.chain:
        octets = header.octets
        if header.kind == golden.NEXT_ROUTING and octets[1:4] == b"\x02\x02\x01":
            destination = octets[8:24]
        if header.kind == golden.NEXT_DESTINATION and octets[1:8] == b"\x02\x01\x02\0\0\xc9\x10":
            source = octets[8:24]
    return replace(draft, sum_source=source, sum_destination=destination)


class Frames:
    """The stream. Equal seeds and configurations give equal streams."""

    def __init__(self, seed: int, config: Config | None = None) -> None:
        self._rng = random.Random(seed)
        self._config = config or bench_config()
        self._hellos = Hellos(self._rng, self._config)
        self._sizes = cycle(SIZES)
        self._chains = cycle(chains())
        self._types = cycle(product((*range(16), 99, 255), (-1, 0, 1, 12)))
        self._singles = cycle(product(range(8), range(3), FAULTS))
        self._pairs = cycle(pairs())
        self._plans: tuple[Callable[[], Iterable[tuple[str, Draft]]], ...] = (
            self._size,
            self._chain,
            self._chain,
            self._type,
            self._single_fault,
            self._single_fault,
            self._single_fault,
            self._pair_of_faults,
            self._pair_of_faults,
            self._hellos.some,
            self._hellos.some,
            self._noise,
        )

    def __iter__(self) -> Iterator[Stimulus]:
        while True:
            for label, draft in self._rng.choice(self._plans)():
                yield self._stimulus(label, draft)

    def take(self, count: int) -> Iterator[Stimulus]:
        """The next `count` of them."""
        for _, stimulus in zip(range(count), self, strict=False):
            yield stimulus

    def _stimulus(self, label: str, draft: Draft) -> Stimulus:
        gap = self._rng.choice((8, 8, 8, 12, 12, 20, 33, 100, 1000))
        return Stimulus(label, draft.octets(), draft.fcs_ok, draft.rx_er, gap)

    def _dressed(self, draft: Draft) -> Draft:
        """The draft with 0 to 2 tags, and padding or none."""
        tags = draft.tags or self._rng.choice(((), (), (5,), (0,), (9, 5), (5, 9)))
        size = max(draft.size, _some_size(self._rng, draft.payload, 24))
        return replace(draft, tags=tags, size=size)

    def _hello(self, sequence: int = 1) -> Draft:
        """A HELLO of a known peer, sound in itself, to plant faults in."""
        index = self._rng.randrange(8)
        peer = self._config.peers[index]
        group = peer.group if peer else GROUP
        return Draft(peer_address(index), OWN, harp(golden.HARP_HELLO, group, sequence))

    def _size(self) -> Iterator[tuple[str, Draft]]:
        size = next(self._sizes)
        draft = self._dressed(self._rng.choice((self._plain(), self._binding_update())))
        yield f"size {size}", replace(draft, size=size, cut=size)

    def _plain(self) -> Draft:
        """Not for us: ARP, a TCP segment, or a neighbour solicitation."""
        rng = self._rng
        draft = Draft(STRANGER, OWN, bytes(20), last=rng.choice((6, 17, 58, 59)))
        return replace(draft, ethertype=rng.choice((0x86DD, 0x86DD, 0x0806, 0x88CC)))

    def _binding_update(self) -> Draft:
        body = self._rng.randbytes(2) + bytes(4)
        return Draft(HOME, OWN, mobility(5, body), hop_limit=64)

    def _chain(self) -> Iterator[tuple[str, Draft]]:
        chain = next(self._chains)
        base = self._rng.choice((self._binding_update(), self._hello(), self._plain()))
        draft = covered_addresses(replace(base, chain=chain))
        label = "chain " + " ".join(f"{header.kind}/{len(header.octets)}" for header in chain)
        yield label, self._dressed(draft)

    def _type(self) -> Iterator[tuple[str, Draft]]:
        mh_type, delta = next(self._types)
        least = golden.MH_MIN_HEADER_LEN.get(mh_type, 0)
        header_len = max(0, least + delta)
        body = self._rng.randbytes(8 * header_len + 2)
        if mh_type == golden.MH_TYPE_HARP:
            body = bytes((self._rng.randrange(1, 12), GROUP)) + body[2:]
        proto = self._rng.choice((59, 59, 59, 6))
        source = self._rng.choice((STRANGER, peer_address(1)))
        draft = Draft(source, OWN, mobility(mh_type, body, proto))
        yield f"type {mh_type} header len {header_len}", self._dressed(draft)

    def _single_fault(self) -> Iterator[tuple[str, Draft]]:
        residue, depth, fault = next(self._singles)
        room = 48 if fault.part == "filler" else 16
        draft = replace(self._hello(), tags=(9, 5)[:depth], size=8 * room + residue)
        yield f"fault {fault.name}", plant(draft, fault)

    def _pair_of_faults(self) -> Iterator[tuple[str, Draft]]:
        first, second = next(self._pairs)
        draft = plant(self._dressed(self._hello()), first, second)
        yield f"faults {first.name}+{second.name}", draft

    def _noise(self) -> Iterator[tuple[str, Draft]]:
        """A frame with random octets overwritten: whatever it becomes, both must agree."""
        plan = self._rng.choice((self._chain, self._type, self._hellos.some))
        label, draft = next(iter(plan()))
        mh = bytearray(draft.payload)
        for _ in range(self._rng.randrange(1, 3)):
            mh[self._rng.randrange(min(16, len(mh)))] = self._rng.randrange(256)
        noisy = replace(draft, payload=bytes(mh), hop_limit=self._rng.choice((255, 255, 254)))
        yield f"noise in {label}", noisy


class Hellos:
    """HELLOs of the configured peers, each with a sender's state, sound or as an attacker's."""

    def __init__(self, rng: random.Random, config: Config) -> None:
        self._rng = rng
        self._peers = [(n, peer) for n, peer in enumerate(config.peers) if peer is not None]
        self._sequence = {(n, to): 1 for n, _ in self._peers for to in (True, False)}
        self._preference = dict.fromkeys(range(golden.PEERS), 100)
        self._interval_ms = dict.fromkeys(range(golden.PEERS), 1000)
        self._kinds: tuple[tuple[str, int], ...] = (
            ("heartbeat", 40),
            ("news", 6),
            ("reply", 2),
            ("leaving", 3),
            ("skip", 4),
            ("old", 5),
            ("far", 5),
            ("far news", 2),
            ("long", 2),
            ("signed", 4),
            ("group", 2),
            ("vlan", 2),
            ("hop limit", 1),
            ("flood", 2),
        )

    def some(self) -> Iterator[tuple[str, Draft]]:
        """One HELLO of a random peer, or a flood of them."""
        rng = self._rng
        names, weights = zip(*self._kinds, strict=True)
        kind = rng.choices(names, weights)[0]
        index, peer = rng.choice(self._peers)
        count = rng.randrange(10, 40) if kind == "flood" else 1
        for _ in range(count):
            yield f"hello {kind} of peer {index}", self._one(kind, index, peer)

    def _one(self, kind: str, index: int, peer: Peer) -> Draft:
        rng = self._rng
        multicast = rng.random() < 0.7
        sequence = self._next(kind, index, multicast, peer)
        if kind in ("news", "far news") or (kind == "flood" and rng.random() < 0.3):
            # In the second word, or in the third, the last where there are no options.
            rng.choice((self._preference, self._interval_ms))[index] = rng.randrange(1, 1 << 16)
        mh = harp(
            golden.HARP_HELLO,
            peer.group + (kind == "group"),
            sequence,
            flags=golden.FLAG_REPLY if kind == "reply" else 0,
            preference=self._preference[index],
            interval_ms=self._interval_ms[index],
            lifetime=0 if kind == "leaving" else 3,
            options=self._options(kind),
        )
        vlan = rng.choice((0, 5, 9)) if peer.vlan is None or kind == "vlan" else peer.vlan
        outer = rng.choice(((), (9,))) if vlan else ()
        return Draft(
            peer.source,
            ALL_HOME_AGENTS if multicast else OWN,
            mh,
            tags=(*outer, vlan) if vlan else (),
            hop_limit=64 if kind == "hop limit" else golden.HOP_LIMIT,
            size=_some_size(rng, mh, 40),
        )

    def _next(self, kind: str, index: int, multicast: bool, peer: Peer) -> int:
        """The Sequence # to send; only a sound HELLO moves the sender's own on."""
        key = (index, multicast)
        last = self._sequence[key]
        steps = {
            "old": -self._rng.randrange(0, 70),
            "far": peer.window + max(1, self._rng.randrange(-19, 20)),  # half of them just beyond
            "far news": self._rng.randrange(1 << 15),
            "skip": self._rng.choice((2, peer.window - 1, peer.window)),
        }
        sequence = (last + steps.get(kind, 1)) & 0xFFFF or 1
        if kind not in ("old", "far", "far news"):
            self._sequence[key] = sequence
        return sequence

    def _options(self, kind: str) -> bytes:
        rng = self._rng
        if kind == "signed":
            spare = rng.choice((b"", pad_n(8)))
            return authenticated(rng.randbytes(8), rng.randbytes(16), spare)
        if kind == "long":
            return pad_n(rng.choice((68, 76, 84, 100)))
        return b""


def _some_size(rng: random.Random, payload: bytes, most: int) -> int:
    """Octets of a frame with up to so many octets behind the payload, or with none: the payload's
    last word is then the frame's last, and what is made of it has the least time."""
    return 64 + rng.randrange(most) + len(payload) if rng.random() < 0.7 else 0


def host_frames(seed: int) -> Iterator[Stimulus]:
    """Frames of the host, for the way out: HARP with and without A, NAs, and others."""
    rng = random.Random(seed)
    while True:
        yield rng.choice(_HOST_PLANS)(rng)


def _host_stimulus(label: str, draft: Draft, rng: random.Random) -> Stimulus:
    tags = rng.choice(((), (5,), (9, 5)))
    octets = replace(draft, tags=tags, size=64 + rng.randrange(30) + len(draft.payload)).octets()
    return Stimulus(label, octets, gap=rng.choice((8, 12, 40)), port=Port.HOST)


def _host_harp(rng: random.Random) -> Stimulus:
    flags = rng.choice((0, golden.FLAG_ACTIVE, 0x28, golden.FLAG_ACTIVE | 0x28))
    mh = harp(rng.randrange(10), GROUP, rng.randrange(1, 1 << 16), flags)
    draft = Draft(OWN, ALL_HOME_AGENTS, mh)
    return _host_stimulus(f"host harp flags {flags:02x}", draft, rng)


def _host_advertisement(rng: random.Random) -> Stimulus:
    target = rng.choice((OWN, HOME, HOME[:15] + b"\x55", ELSEWHERE))
    kind = rng.choice((golden.ICMPV6_NEIGHBOR_ADVERTISEMENT, 135))
    message = bytes((kind, 0, 0, 0, 0x20, 0, 0, 0)) + target
    draft = Draft(OWN, ALL_HOME_AGENTS, message, last=golden.NEXT_ICMPV6)
    return _host_stimulus(f"host ICMPv6 {kind} {target.hex()}", draft, rng)


def _host_other(rng: random.Random) -> Stimulus:
    size = rng.choice((64, 65, 100, 1518, 9216))
    frame = with_fcs(rng.randbytes(12) + b"\x08\x00" + bytes(size - 18))
    return Stimulus(f"host IPv4 of {size}", frame, port=Port.HOST)


_HOST_PLANS = (_host_harp, _host_advertisement, _host_other)


def arrivals(stimuli: Iterable[Stimulus], megabits: int = 1000) -> Iterator[tuple[int, Stimulus]]:
    """Each frame with the time, in whole µs, at which its last octet has come in on such a line."""
    octets = 0
    for stimulus in stimuli:
        octets += max(stimulus.gap, MIN_GAP_OCTETS) + PREAMBLE_OCTETS + len(stimulus.octets)
        yield octets * 8 // megabits, stimulus
