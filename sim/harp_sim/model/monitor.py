"""The heartbeat monitor: peers, their sequences, deadlines, and what is news.

**Match.** The source address alone decides `not_a_peer`; (source, Group ID, VLAN) decides which
peer's HELLO it is, the lowest index if several match. A HELLO of a known source that matches no
whole key, and every other HARP message of a known source, is `mobility`.

**Without HMAC** in hardware an entry of mode `verified` that must be authenticated matches nothing:
its HELLOs are the host's, and what another entry says of the same address stands. In `seen` mode
such entries count like others (harp.md §7).

**Sequence.** The step is (new - last) modulo 2^16, as RFC 6275 §9.5.1 compares, and must be 1 to
max(64, 2 x multiplier). Last 0 accepts any; it is 0 for a new peer, after `peer_down` and after
`peer_left` (harp.md §3), separately for multicast and unicast. Nothing is authenticated in
hardware here, so "any newer" never applies.

**News.** The MH differs from the last accepted and delivered one, with Sequence #, Checksum,
timestamp and tag taken out; or R is set; or it is longer than 96 octets. Timestamp and tag are
known in the one layout that harp.md §2 pads to: the HA-HA option (type 9, length 21, our subtype)
ends the MH at 8n+1, and the timestamp option (type 10, length 8) stands right before it at 8m+2.
Elsewhere they count as content, so such a HELLO is always news, which is safe.

`peer_news` is raised for news that leaves for the host. Only `replay` and `flood` have ceilings of
their own, and "a flood never reaches its CPU": what bounds `peer_news` is the peer's bucket.

**Acceptance.** A HELLO in sequence is accepted: it sets the last Sequence #, re-arms both times,
makes the peer up. It is kept for comparison only if it leaves for the host, so news that a bucket
or an action drops stays news. With HA Lifetime 0 and mode `verified` it ends both times and the
peer has left; in mode `seen` it is news and otherwise a HELLO as any.

**Times.** `peer_down` and `peer_late` are due when `now_us >= heard_us + deadline_us` (or
`late_us`). A frame judged at exactly that microsecond comes after them. The gateware has 2 µs more
to raise them: see `Model.near_edge`. New settings count from the next accepted HELLO.

Ref: offload.md §3; harp.md §2.1, §2.3, §3, §4 and §7
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from harp.tables.reasons import Reason
from harp_sim.model import golden
from harp_sim.model.config import Mode, Peer
from harp_sim.model.events import EventKind, Events


class PeerState(StrEnum):
    """Liveness of a peer."""

    UNKNOWN = "unknown"
    UP = "up"
    LATE = "late"
    DOWN = "down"
    LEFT = "left"


@dataclass(slots=True)
class Watch:
    """What the monitor knows of one peer."""

    state: PeerState = PeerState.UNKNOWN
    heard_us: int = 0
    """Arrival of the last accepted HELLO; 0: none."""
    down_at_us: int | None = None
    late_at_us: int | None = None
    last: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    """Last Sequence # by multicast (True) and unicast (False); 0: any is accepted."""
    kept: bytes | None = None
    """Comparable part of the last accepted and delivered HELLO."""
    heartbeats: int = 0
    """Heartbeats absorbed since one passed."""
    accepted: int = 0
    absorbed: int = 0


class Hello(NamedTuple):
    """A HELLO of a configured peer, and what the monitor says of it."""

    peer: int
    mh: bytes
    multicast: bool
    reason: Reason
    """`heartbeat`, `heartbeat_news` or `replay`."""
    accepted: bool

    @property
    def lifetime(self) -> int:
        """HA Lifetime, seconds; 0: the sender leaves."""
        return self.mh[14] << 8 | self.mh[15]


def comparable(mh: bytes, auth_subtype: int) -> bytes:
    """The MH with everything taken out that may differ without being news."""
    body = mh[:4] + mh[6:8] + mh[10:]
    option = bytes((golden.OPTION_AUTHENTICATION, golden.OPTION_AUTHENTICATION_OCTETS))
    tail = golden.AUTHENTICATION_TAG_OCTETS
    if len(mh) < 48 or mh[-23:-20] != option + bytes((auth_subtype,)):
        return body
    stamp = bytes((golden.OPTION_TIMESTAMP, golden.OPTION_TIMESTAMP_OCTETS))
    if len(mh) >= 64 and mh[-38:-36] == stamp:
        return body[:-36] + body[-28:-tail]
    return body[:-tail]


class Monitor:
    """The peer table with the state of each peer."""

    def __init__(self, peers: Sequence[Peer | None], events: Events, auth_subtype: int) -> None:
        self.watches = [Watch() for _ in range(golden.PEERS)]
        self._events = events
        self.configure(peers, auth_subtype)

    def configure(self, peers: Sequence[Peer | None], auth_subtype: int) -> None:
        """Take new entries. The state of an entry stays, but an empty one's is forgotten."""
        self._peers = peers
        self._auth_subtype = auth_subtype
        self._by_source: dict[bytes, list[tuple[int, Peer]]] = {}
        for index, peer in enumerate(peers):
            if peer is None:
                self.forget(index)
            else:
                self._by_source.setdefault(peer.source, []).append((index, peer))

    def forget(self, index: int) -> None:
        """Back to unknown: no times, no sequence, nothing kept. The counters stay."""
        old = self.watches[index]
        self.watches[index] = Watch(accepted=old.accepted, absorbed=old.absorbed)

    def arm(self, index: int, at_us: int) -> None:
        """Start the peer's times as if a HELLO had come; no event."""
        self._rearm(index, at_us)
        self.watches[index].state = PeerState.UP

    def knows(self, source: bytes) -> bool:
        """Whether any entry has this address."""
        return source in self._by_source

    def match(self, source: bytes, group: int, vlan: int) -> int | None:
        """The peer whose key this is."""
        for index, peer in self._by_source.get(source, ()):
            judged = peer.mode is Mode.SEEN or not peer.authenticated
            if judged and peer.group == group and peer.vlan in (None, vlan):
                return index
        return None

    def judge(self, index: int, mh: bytes, multicast: bool) -> Hello:
        """What a HELLO of this peer is."""
        peer = self._peer(index)
        news = self._is_news(index, peer, mh)
        accepted = self._in_sequence(index, peer, mh, multicast)
        if news:
            reason = Reason.HEARTBEAT_NEWS
        else:
            reason = Reason.HEARTBEAT if accepted else Reason.REPLAY
        return Hello(index, mh, multicast, reason, accepted)

    def apply(self, hello: Hello, at_us: int, delivered: bool) -> None:
        """Let a judged HELLO act; `delivered`: it leaves for the host."""
        watch = self.watches[hello.peer]
        if hello.reason is Reason.REPLAY:
            self._events.occur(EventKind.REPLAY, hello.peer, at_us)
        elif hello.reason is Reason.HEARTBEAT_NEWS and delivered:
            self._events.occur(EventKind.PEER_NEWS, hello.peer, at_us)
        if not hello.accepted:
            return
        watch.accepted += 1
        watch.heard_us = at_us
        if delivered:
            watch.kept = comparable(hello.mh, self._auth_subtype)
        if hello.lifetime == 0 and self._peer(hello.peer).mode is Mode.VERIFIED:
            self._leave(hello.peer, at_us)
        else:
            self._hear(hello, at_us)

    def next_us(self) -> int | None:
        """The earliest time that is still to come due."""
        times = [
            time
            for watch in self.watches
            for time in (watch.late_at_us, watch.down_at_us)
            if time is not None
        ]
        return min(times, default=None)

    def expire(self, now_us: int) -> None:
        """Raise what is due by now, each at its own time."""
        for index, watch in enumerate(self.watches):
            if watch.late_at_us is not None and watch.late_at_us <= now_us:
                self._events.occur(EventKind.PEER_LATE, index, watch.late_at_us)
                watch.late_at_us, watch.state = None, PeerState.LATE
            if watch.down_at_us is not None and watch.down_at_us <= now_us:
                self._events.occur(EventKind.PEER_DOWN, index, watch.down_at_us)
                self._end(watch, PeerState.DOWN)

    def _peer(self, index: int) -> Peer:
        peer = self._peers[index]
        if peer is None:
            raise LookupError(f"peer {index} is not configured")
        return peer

    def _is_news(self, index: int, peer: Peer, mh: bytes) -> bool:
        if len(mh) > golden.KEPT_OCTETS or mh[11] & golden.FLAG_REPLY:
            return True
        if peer.mode is Mode.SEEN and mh[14:16] == b"\0\0":
            return True
        return comparable(mh, self._auth_subtype) != self.watches[index].kept

    def _in_sequence(self, index: int, peer: Peer, mh: bytes, multicast: bool) -> bool:
        last = self.watches[index].last[multicast]
        step = ((mh[8] << 8 | mh[9]) - last) & 0xFFFF
        return last == 0 or 0 < step <= peer.window

    def _hear(self, hello: Hello, at_us: int) -> None:
        watch = self.watches[hello.peer]
        watch.last[hello.multicast] = hello.mh[8] << 8 | hello.mh[9]
        self._rearm(hello.peer, at_us)
        if watch.state not in (PeerState.UP, PeerState.LATE):
            self._events.occur(EventKind.PEER_UP, hello.peer, at_us)
        watch.state = PeerState.UP

    def _leave(self, index: int, at_us: int) -> None:
        watch = self.watches[index]
        if watch.state is not PeerState.LEFT:
            self._events.occur(EventKind.PEER_LEFT, index, at_us)
        self._end(watch, PeerState.LEFT)

    def _rearm(self, index: int, at_us: int) -> None:
        peer, watch = self._peer(index), self.watches[index]
        watch.down_at_us = at_us + peer.deadline_us if peer.deadline_us else None
        watch.late_at_us = at_us + peer.late_us if peer.late_us else None

    @staticmethod
    def _end(watch: Watch, state: PeerState) -> None:
        """No times run any more and any Sequence # is accepted next (harp.md §3)."""
        watch.state = state
        watch.down_at_us = watch.late_at_us = None
        watch.last = {True: 0, False: 0}
