"""Every packet's way in: the rules of harp.md §3 in their order, each with its counter.

Ref: harp.md §3; RFC 6275 §9.2 (checks on receipt and their answers), §9.3.3; RFC 5082 (hop limit)

Rules 1 to 7 are the codec's (1 in part: whether the packet was cut is for the caller to know), 8 to
11 are here, 12 for HELLOs and 13 are the group's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from harp.engine.binding_error import BindingErrors
from harp.engine.config import UNSPECIFIED
from harp.engine.effects import Dropped, Effect, SendParameterProblem
from harp.engine.events import IcmpReceived, PacketReceived
from harp.engine.group import Group
from harp.engine.joining import LINK, may_join
from harp.engine.protection import Heard
from harp.tables.constants import US_PER_S, WRONG_GROUP_RATE_PER_S
from harp.tables.harp_types import LOG_INDEX, HarpType, Status
from harp.tables.mh import HOP_LIMIT, BeStatus
from harp.tables.reasons import Reason
from harp.wire.bulk import BulkCodec, BulkReply
from harp.wire.codec import Codec
from harp.wire.icmpv6 import parse_icmpv6
from harp.wire.messages import (
    BindingUpdate,
    DhaadReply,
    Harp,
    Heartbeat,
    Malformed,
    Message,
)

_PAYLOAD_PROTO, _HEADER_LEN = 0, 1
"""Octets of a Mobility Header that a Parameter Problem points at (RFC 6275 §9.2)."""
PROBLEM_SPACING_US = US_PER_S // 10
"""Least time between two Parameter Problems (RFC 4443 §2.4 (f))."""
_REPLIES = {
    HarpType.SS_REQ: HarpType.SS_REP,
    HarpType.SS_REP: HarpType.SS_ACK,
    HarpType.SO_REQ: HarpType.SO_REP,
    HarpType.SB_REQ: HarpType.SB_REP,
}
"""Types that have an answer with a Status."""


class Reception:
    """Judges what arrives and gives it to the group that it is for."""

    def __init__(self, groups: Mapping[int, Group], codec: Codec) -> None:
        self.counters: Counter[str] = Counter()
        """Drops by reason name of packets that belong to no group."""
        self._groups = groups
        self._bulk = BulkCodec(codec)
        self._errors = BindingErrors(codec)
        self._homes = {
            address: [g for g in groups.values() if address in g.peers.by_address]
            for group in groups.values()
            for address in group.peers.by_address
        }
        """Address of a member: the groups that it is in."""
        self._agents: dict[bytes, list[Group]] = {}
        """Home agent address: the groups whose it is; in hard mode perhaps several."""
        for group in groups.values():
            self._agents.setdefault(group.home_agent.address, []).append(group)
        self._wrong_group_at = 0
        self._problem_at = 0

    def packet(self, event: PacketReceived, now: int) -> list[Effect]:
        """A Mobility Header."""
        if event.cut:
            return self._drop(Reason.TRUNCATED, event, "the packet was cut short")
        message = self._bulk.parse(event.source, event.destination, event.payload)
        if isinstance(message, Harp):
            return self._harp(event, message, None, now)
        if isinstance(message, BulkReply):
            return self._harp(event, message.message, message, now)
        if isinstance(message, Malformed):
            return self._malformed(event, message, now)
        return self._mobility(event, message, now)

    def icmp(self, event: IcmpReceived, now: int) -> list[Effect]:
        """An ICMPv6 message: only discovery requests are of interest."""
        message = parse_icmpv6(event.source, event.destination, event.payload)
        if message is None or isinstance(message, DhaadReply):
            return []
        if isinstance(message, Malformed):
            return self._drop(message.reason, event, message.detail)
        group = next((g for g in self._groups.values() if _at_home(g, event.destination)), None)
        if group is None:
            return self._drop(Reason.UNEXPECTED, event, "no group has this home prefix")
        return group.discovery(message, event.source, now)

    # HARP

    def _harp(
        self, event: PacketReceived, message: Harp, bulk: BulkReply | None, now: int
    ) -> list[Effect]:
        """harp.md §3 rules 8 to 11."""
        group = self._groups.get(message.group)
        if event.hop_limit != HOP_LIMIT and (group is None or group.config.require_hop_limit):
            return self._drop(Reason.BAD_HOP_LIMIT, event, f"hop limit {event.hop_limit}", group)
        found = group.peers.by_address.get(event.source) if group else None
        if group is None or found is None:
            joined = self._join(group, event, message, now) if group else None
            return self._stranger(event, message, now) if joined is None else joined
        peer, link = found
        heard = Heard(
            peer.identity, link.index, event.source, event.destination, event.payload, message
        )
        judgement = group.protector.judge(heard, now)
        if judgement:
            return group.refuse(peer, link, heard, judgement, now)
        return group.receive(peer, link, heard, bulk, now)

    def _join(
        self, group: Group, event: PacketReceived, message: Harp, now: int
    ) -> list[Effect] | None:
        """Rule 9 with `discover = true`: a new member and its first HELLO; None: it is none."""
        heard = Heard(event.source, LINK, event.source, event.destination, event.payload, message)
        if not may_join(group.config, group.peers, heard, event.link):
            return None
        if group.protector.judge(heard, now):
            return None
        self._homes.setdefault(event.source, []).append(group)
        return group.join(heard, now)

    def _stranger(self, event: PacketReceived, message: Harp, now: int) -> list[Effect]:
        """Rules 9 and 10: from no member of any group, or from one of another group. The latter
        is told so, if it passes its own group's protection, at most once a second."""
        homes = self._homes.get(event.source)
        if not homes:
            return self._drop(Reason.NOT_A_PEER, event, "no member of any group")
        dropped = self._drop(Reason.WRONG_GROUP, event, f"group {message.group}")
        kind, home = _REPLIES.get(message.type), homes[0]
        if kind is None or now < self._wrong_group_at:
            return dropped
        peer, link = home.peers.by_address[event.source]
        heard = Heard(
            peer.identity, link.index, event.source, event.destination, event.payload, message
        )
        if home.protector.judge(heard, now):
            return dropped
        self._wrong_group_at = now + US_PER_S // WRONG_GROUP_RATE_PER_S
        index = max(message.index, 1) if kind is HarpType.SS_REP else message.index
        reply = Harp(
            kind,
            message.group,
            message.sequence,
            status=Status.WRONG_GROUP,
            index=index if kind in (HarpType.SS_REP, HarpType.SS_ACK) else LOG_INDEX,
        )
        config = home.config
        source, name = config.me.addresses[link.index], config.links[link.index].name
        return dropped + home.protector.send(source, event.source, name, reply, now)

    # Everything else

    def _mobility(self, event: PacketReceived, message: Message, now: int) -> list[Effect]:
        """Binding Updates go to their group's home agent, members' Heartbeats to their group;
        nothing else is expected here."""
        if not isinstance(message, BindingUpdate):
            if isinstance(message, Heartbeat):
                return self._heartbeat(event, message, now)
            return self._drop(Reason.UNEXPECTED, event, type(message).__name__)
        group = self._home_agent_at(event.destination, event.source)
        if group is None:
            return self._drop(Reason.UNEXPECTED, event, "not to a home agent address")
        return group.binding_update(message, event, now)

    def _heartbeat(self, event: PacketReceived, message: Heartbeat, now: int) -> list[Effect]:
        """Requests of members are answered (RFC 5847 §3.1); we ask nobody."""
        homes, ours = self._homes.get(event.source, ()), event.destination
        group = next((group for group in homes if ours in group.config.me.addresses), None)
        if group is None or message.response:
            return self._drop(Reason.UNEXPECTED, event, "Heartbeat", group)
        if event.hop_limit != HOP_LIMIT and group.config.require_hop_limit:
            return self._drop(Reason.BAD_HOP_LIMIT, event, f"hop limit {event.hop_limit}", group)
        return group.heartbeat(message, event, now)

    def _home_agent_at(self, address: bytes, home_address: bytes) -> Group | None:
        """The group whose home agent has an address; of several (hard mode), the one with the home
        prefix, else the first: it says that the prefix is not served."""
        there = self._agents.get(address)
        if there is None or len(there) == 1:
            return there[0] if there else None
        return next((group for group in there if _at_home(group, home_address)), there[0])

    def _malformed(self, event: PacketReceived, fault: Malformed, now: int) -> list[Effect]:
        """Rules 1 to 7. RFC 6275 §9.2 has answers to some, "only after a right checksum, never for
        multicast, rate-limited" (harp.md §3 rule 6)."""
        effects = self._drop(fault.reason, event, fault.detail)
        source = event.care_of or event.source
        if fault.reason is Reason.UNKNOWN_TYPE:
            home = event.source if event.care_of else UNSPECIFIED
            error = self._errors.about(
                BeStatus.UNRECOGNIZED_MH_TYPE, source, event.destination, home, now
            )
            return [*effects, error] if error else effects
        whole = len(event.payload) > 1 and 8 * (event.payload[1] + 1) <= len(event.payload)
        if fault.reason is Reason.BAD_PAYLOAD_PROTO:
            pointer = _PAYLOAD_PROTO
        elif fault.reason is Reason.BAD_LENGTH and whole:
            pointer = _HEADER_LEN
        else:
            return effects
        if event.destination[0] == 0xFF or source[0] == 0xFF or now < self._problem_at:
            return effects
        self._problem_at = now + PROBLEM_SPACING_US
        problem = SendParameterProblem(event.destination, source, event.payload, pointer)
        return [*effects, problem]

    def _drop(
        self,
        reason: Reason,
        event: PacketReceived | IcmpReceived,
        detail: str,
        group: Group | None = None,
    ) -> list[Effect]:
        if group is None:
            self.counters[reason] += 1
            return [Dropped(reason, event.source, None, detail)]
        group.counters[reason] += 1
        return [Dropped(reason, event.source, group.config.group, detail)]


def _at_home(group: Group, address: bytes) -> bool:
    """Whether an address lies in one of a group's home prefixes."""
    return any(prefix.contains(address) for prefix in group.config.home_prefixes)
