"""From a frame to its reason, and from its reason to what becomes of it.

**Reason.** The first that applies in the order of offload.md §2. `fragmented` stands before
`not_mobility` there, so a fragmented MH in transit is `fragmented`; any other MH whose IPv6
destination is neither local nor multicast is `not_mobility`. The source of a HARP message is the
IPv6 source.

**Outcome.** Without a live lease or with the filter off every good frame passes, and neither
buckets nor the count of heartbeats move. Otherwise the action of the reason decides, but:
`bad_frame` is always dropped; `not_a_peer` is dropped if `peers_complete`; `absorb` passes at any
other reason than `heartbeat`, and in mode `seen`. A bucket is asked, and then says `limited_pass`
or `limited_drop`, by `limit` (the reason's), by `heartbeat_news` (the peer's) and by `mobility` of
a limited type (the type's), the last two if the action is `pass` or `limit`. An absorbing heartbeat
counts up; the `pass_every`-th passes and the count starts anew.

Ref: offload.md §2 and §3
"""

from typing import NamedTuple

from harp.tables.reasons import Action, Outcome, Reason
from harp_sim.model import golden
from harp_sim.model.buckets import Buckets
from harp_sim.model.config import Config, Mode
from harp_sim.model.frame import Link, Packet, parse_link, parse_packet
from harp_sim.model.mobility import is_local, judge_mobility
from harp_sim.model.monitor import Hello, Monitor, Watch
from harp_sim.model.walk import Walk, walk_chain


class Heading(NamedTuple):
    """What the headers up to the last one say, before anything of an MH is judged."""

    link: Link
    found: Reason | tuple[Packet, Walk]
    """The verdict, if the headers decide; otherwise the way to an MH for a local address."""


class Verdict(NamedTuple):
    """Why a frame is judged as it is."""

    reason: Reason
    depth: int
    """VLAN tags walked over."""
    mh_type: int | None = None
    """Type of a valid MH."""
    hello: Hello | None = None
    """Set for a HELLO of a peer that the monitor judged."""


class Decision(NamedTuple):
    """What becomes of it."""

    action: Action
    outcome: Outcome
    bucket: int | None = None
    """The bucket that was asked."""


def read_heading(octets: bytes, local: tuple[bytes, ...]) -> Heading:
    """Walk a frame's headers; what it leaves undecided needs the MH."""
    link = parse_link(octets)
    packet = parse_packet(octets, link)
    if isinstance(packet, Reason):
        return Heading(link, packet)
    walk = walk_chain(packet)
    if walk.fault is not None:
        return Heading(link, walk.fault)
    if walk.at_mobility and is_local(packet.destination, local):
        return Heading(link, (packet, walk))
    return Heading(link, Reason.NOT_MOBILITY)


def judge(octets: bytes, config: Config, monitor: Monitor) -> Verdict:
    """The reason of a good frame; nothing changes."""
    link, found = read_heading(octets, config.local)
    if isinstance(found, Reason):
        return Verdict(found, link.depth)
    packet, walk = found
    mh = judge_mobility(packet, walk, config)
    if isinstance(mh, Reason):
        return Verdict(mh, link.depth)
    if mh[2] != config.harp_type:
        return Verdict(Reason.MOBILITY, link.depth, mh[2])
    return _judge_harp(mh, packet, link, monitor)


def _judge_harp(mh: bytes, packet: Packet, link: Link, monitor: Monitor) -> Verdict:
    """A valid HARP message: its peer, and for a HELLO what the monitor says."""
    if not monitor.knows(packet.source):
        return Verdict(Reason.NOT_A_PEER, link.depth, mh[2])
    hello = None
    peer = monitor.match(packet.source, mh[7], link.vlan)
    if mh[6] == golden.HARP_HELLO and peer is not None:
        hello = monitor.judge(peer, mh, packet.multicast)
    reason = hello.reason if hello else Reason.MOBILITY
    return Verdict(reason, link.depth, mh[2], hello)


def decide(
    verdict: Verdict,
    config: Config,
    enforced: bool,
    buckets: Buckets,
    watch: Watch | None,
    at_us: int,
) -> Decision:
    """Decide what becomes of a good frame; take its token or count its heartbeat.

    `watch` is the state of the verdict's peer, None without one.
    """
    action = _action(verdict, config)
    if not enforced:
        return Decision(action, Outcome.PASS)
    bucket = _bucket(verdict, action, config)
    if bucket is not None:
        taken = buckets.take(bucket, config.buckets[bucket], at_us)
        return Decision(action, Outcome.LIMITED_PASS if taken else Outcome.LIMITED_DROP, bucket)
    if action is Action.DROP:
        return Decision(action, Outcome.DROP)
    if action is Action.ABSORB and watch is not None:
        return Decision(action, _absorb(watch, config))
    return Decision(action, Outcome.PASS)


def _action(verdict: Verdict, config: Config) -> Action:
    """The action of a reason after the exceptions named above."""
    action = config.rules[verdict.reason].action
    if verdict.reason is Reason.NOT_A_PEER and config.peers_complete:
        return Action.DROP
    if action is Action.ABSORB and not _may_absorb(verdict, config):
        return Action.PASS
    return action


def _may_absorb(verdict: Verdict, config: Config) -> bool:
    if verdict.hello is None or verdict.reason is not Reason.HEARTBEAT:
        return False
    peer = config.peers[verdict.hello.peer]
    return peer is not None and peer.mode is Mode.VERIFIED


def _bucket(verdict: Verdict, action: Action, config: Config) -> int | None:
    """The one bucket that decides about a frame."""
    if action not in (Action.PASS, Action.LIMIT):
        return None
    if verdict.reason is Reason.HEARTBEAT_NEWS and verdict.hello is not None:
        return golden.BUCKETS + verdict.hello.peer
    if verdict.reason is Reason.MOBILITY and verdict.mh_type is not None:
        entry = config.types[verdict.mh_type]
        if entry.bucket is not None:
            return entry.bucket
    return config.rules[verdict.reason].bucket if action is Action.LIMIT else None


def _absorb(watch: Watch, config: Config) -> Outcome:
    watch.heartbeats += 1
    if watch.heartbeats == config.pass_every:
        watch.heartbeats = 0
        return Outcome.PASS
    watch.absorbed += 1
    return Outcome.ABSORB
